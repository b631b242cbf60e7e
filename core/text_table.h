// A small table of texts, rendered for a terminal or as Markdown. Columns are as wide as their widest cell, measured in
// terminal columns: ± and × count 1, combining marks 0, East Asian wide characters and emoji 2.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace noisysgd {

std::size_t display_width(std::string_view utf8);  // an invalid byte counts 1

class TextTable {
 public:
  enum class Align { left, right };

  // By default the first column (names) is aligned left, the others (numbers) right.
  explicit TextTable(std::vector<std::string> header, std::vector<Align> alignments = {});

  void add_row(std::vector<std::string> cells);  // as many as the header has
  std::string text() const;                      // header, rule, rows; no spaces at line ends
  std::string markdown() const;

 private:
  using Row = std::vector<std::string>;
  std::vector<std::size_t> widths(const std::vector<Row>& rows) const;
  std::string aligned(const std::string& cell, std::size_t column, std::size_t width) const;

  std::vector<Align> alignments_;
  std::vector<Row> rows_;  // the header first
};

}  // namespace noisysgd
