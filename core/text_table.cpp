#include <noisysgd/core/text_table.h>

#include <algorithm>
#include <array>

#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

struct Range {
  char32_t first, last;
};

// The Unicode blocks of combining marks and of wide characters that names and units may contain; not the full tables.
constexpr std::array zero_width = {Range{0x0300, 0x036F}, Range{0x1AB0, 0x1AFF}, Range{0x1DC0, 0x1DFF},
                                   Range{0x200B, 0x200F}, Range{0x20D0, 0x20FF}, Range{0xFE00, 0xFE0F},
                                   Range{0xFE20, 0xFE2F}};
constexpr std::array double_width = {Range{0x1100, 0x115F},   Range{0x2E80, 0x303E},   Range{0x3041, 0xA4CF},
                                     Range{0xAC00, 0xD7A3},   Range{0xF900, 0xFAFF},   Range{0xFE30, 0xFE6F},
                                     Range{0xFF00, 0xFF60},   Range{0xFFE0, 0xFFE6},   Range{0x1F300, 0x1F64F},
                                     Range{0x1F680, 0x1F6FF}, Range{0x1F900, 0x1F9FF}, Range{0x20000, 0x3FFFD}};

template <std::size_t N>
bool is_in(const std::array<Range, N>& ranges, char32_t code) {
  return std::any_of(ranges.begin(), ranges.end(), [&](Range r) { return r.first <= code && code <= r.last; });
}

// Removes the first character and returns it; an invalid byte is returned as U+FFFD.
char32_t take_character(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 0x6 ? 2 : lead >> 4 == 0xE ? 3 : lead >> 3 == 0x1E ? 4 : 0;
  bool valid = length != 0 && length <= text.size();
  char32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (std::size_t i = 1; valid && i < length; ++i) {
    valid = byte(i) >> 6 == 0x2;
    code = code << 6 | (byte(i) & 0x3F);
  }
  text.remove_prefix(valid ? length : 1);
  return valid ? code : 0xFFFD;
}

std::string replaced(std::string_view text, char from, std::string_view to) {
  std::string result;
  for (const char c : text) {
    if (c == from) {
      result.append(to);
    } else {
      result.push_back(c);
    }
  }
  return result;
}

}  // namespace

std::size_t display_width(std::string_view utf8) {
  std::size_t width = 0;
  while (!utf8.empty()) {
    const char32_t code = take_character(utf8);
    width += is_in(zero_width, code) ? 0 : is_in(double_width, code) ? 2 : 1;
  }
  return width;
}

TextTable::TextTable(std::vector<std::string> header, std::vector<Align> alignments)
    : alignments_(std::move(alignments)) {
  NSGD_CHECK(!header.empty(), "a table needs a column");
  if (alignments_.empty()) {
    alignments_.assign(header.size(), Align::right);
    alignments_.front() = Align::left;
  }
  NSGD_CHECK(alignments_.size() == header.size(), "a table of {} columns got {} alignments", header.size(),
             alignments_.size());
  rows_.push_back(std::move(header));
}

void TextTable::add_row(std::vector<std::string> cells) {
  NSGD_CHECK(cells.size() == alignments_.size(), "a table of {} columns got a row of {}", alignments_.size(),
             cells.size());
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> TextTable::widths(const std::vector<Row>& rows) const {
  std::vector<std::size_t> result(alignments_.size(), 0);
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) result[i] = std::max(result[i], display_width(row[i]));
  }
  return result;
}

std::string TextTable::aligned(const std::string& cell, std::size_t column, std::size_t width) const {
  const std::string space(width - display_width(cell), ' ');
  return alignments_[column] == Align::left ? cell + space : space + cell;
}

std::string TextTable::text() const {
  std::vector<Row> rows = rows_;
  for (Row& row : rows) {
    for (std::string& cell : row) cell = replaced(cell, '\n', " ");
  }
  const std::vector<std::size_t> width = widths(rows);
  std::string result;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    std::string rule;
    for (std::size_t i = 0; i < width.size(); ++i) {
      const std::string_view gap = i == 0 ? "" : "  ";
      line.append(gap).append(aligned(rows[r][i], i, width[i]));
      rule.append(gap).append(width[i], '-');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    result.append(line).append("\n");
    if (r == 0) result.append(rule).append("\n");
  }
  return result;
}

std::string TextTable::markdown() const {
  std::vector<Row> rows = rows_;
  for (Row& row : rows) {
    for (std::string& cell : row) cell = replaced(replaced(cell, '|', "\\|"), '\n', "<br>");
  }
  std::vector<std::size_t> width = widths(rows);
  for (std::size_t& columns : width) columns = std::max<std::size_t>(columns, 3);  // "--:" is the shortest rule
  std::string result;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string rule;
    for (std::size_t i = 0; i < width.size(); ++i) {
      const bool right = alignments_[i] == Align::right;
      result.append("| ").append(aligned(rows[r][i], i, width[i])).append(" ");
      rule.append("| ").append(width[i] - 1, '-').append(right ? ": " : "- ");
    }
    result.append("|\n");
    if (r == 0) result.append(rule).append("|\n");
  }
  return result;
}

}  // namespace noisysgd
