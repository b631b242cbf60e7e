// Pieces of an HTML page. Text becomes markup only by text(), which escapes it, so no name, key or path from a file can
// add markup to the page.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace noisysgd::html {

struct Html {
  std::string markup;

  bool empty() const { return markup.empty(); }
  Html& operator+=(const Html& more) {
    markup += more.markup;
    return *this;
  }
};
inline Html operator+(Html first, const Html& second) { return std::move(first += second); }

// Control characters and bytes that are not UTF-8 become visible escapes, as on a terminal.
Html text(std::string_view plain);

struct Attribute {
  std::string_view name;
  std::string value;
};
// tag and the names of attributes: literals of the program.
Html element(std::string_view tag, const Html& content, std::initializer_list<Attribute> attributes = {});
Html element(std::string_view tag, std::string_view plain, std::initializer_list<Attribute> attributes = {});

// A table whose first column is aligned left and the others right, in a box that scrolls sideways on a narrow screen.
class Table {
 public:
  explicit Table(const std::vector<std::string>& header) : head_(row("th", cells_of(header))) {}
  void add_row(const std::vector<std::string>& plain) { add_row(cells_of(plain)); }
  void add_row(const std::vector<Html>& cells) {
    rows_ += row("td", cells);
    empty_ = false;
  }
  bool empty() const { return empty_; }
  // words: the columns hold words rather than numbers and are aligned left.
  Html html(bool words = false) const;

 private:
  static std::vector<Html> cells_of(const std::vector<std::string>& plain);
  static Html row(std::string_view tag, const std::vector<Html>& cells);

  Html head_, rows_;
  bool empty_ = true;
};

// A part of the page that is closed until the reader opens it.
Html details(std::string_view title, const Html& content, bool open = false);

// An SVG drawing of draw_figure() as a part of the page. prefix: makes its ids unique in the page. The label describes
// it to readers who cannot see it.
Html inline_svg(std::string_view svg, std::string_view prefix, std::string_view label);

// A picture from an SVG file of any origin. The browser runs no script in it.
Html svg_picture(std::string_view svg, std::string_view label);

// A whole page. Its policy forbids scripts and everything that would need a network.
std::string page(std::string_view title, const Html& body);
inline constexpr std::string_view page_begin = "<!DOCTYPE html>";

}  // namespace noisysgd::html
