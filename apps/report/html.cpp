#include <noisysgd/apps/report/html.h>

#include <fmt/format.h>

#include <array>
#include <cstdint>

#include <noisysgd/core/printable.h>

namespace noisysgd::html {
namespace {

constexpr const char* style = R"(
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: #fff; color: #1b1b1b;
       font: 15px/1.45 system-ui, "Liberation Sans", Arial, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; padding-top: 0.6rem; border-top: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1.2rem 0 0.4rem; }
p { margin: 0.4rem 0; max-width: 48rem; }
.note { color: #555; font-size: 0.87rem; }
.problems { border-left: 4px solid #d55e00; padding: 0.3rem 0.8rem; background: #fdf3ec; }
.problems ul { margin: 0.3rem 0; padding-left: 1.1rem; }
.scroll { overflow-x: auto; margin: 0.5rem 0; }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.25rem 0.7rem; border-bottom: 1px solid #e4e4e4; vertical-align: top;
         white-space: nowrap; }
th { border-bottom: 1.5px solid #888; font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, .words th, .words td { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
td.long { min-width: 13rem; max-width: 26rem; white-space: normal; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 318px), 1fr)); gap: 0.8rem 1rem; }
.figures svg { width: 100%; height: auto; display: block; }
.picture img { display: block; }
figure { margin: 0.8rem 0; }
figcaption { color: #555; font-size: 0.87rem; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; background: #f6f6f6; padding: 0.6rem; font-size: 0.8rem; }
@media print { .scroll, pre { overflow: visible; } }
)";

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t at) {
      return at < bytes.size() ? uint32_t{static_cast<unsigned char>(bytes[at])} : 0;
    };
    const uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (size_t k = 0; k < 4; ++k) result += i + k > bytes.size() ? '=' : digits[group >> (18 - 6 * k) & 63];
  }
  return result;
}

void replace_all(std::string& in, std::string_view what, const std::string& by) {
  for (size_t at = 0; (at = in.find(what, at)) != std::string::npos; at += by.size()) in.replace(at, what.size(), by);
}

}  // namespace

Html text(std::string_view plain) {
  Html result;
  for (const char c : printable(plain)) {
    switch (c) {
      case '<':
        result.markup += "&lt;";
        break;
      case '>':
        result.markup += "&gt;";
        break;
      case '&':
        result.markup += "&amp;";
        break;
      case '"':
        result.markup += "&quot;";
        break;
      case '\'':
        result.markup += "&#39;";
        break;
      default:
        result.markup += c;
    }
  }
  return result;
}

Html element(std::string_view tag, const Html& content, std::initializer_list<Attribute> attributes) {
  std::string markup = fmt::format("<{}", tag);
  for (const Attribute& attribute : attributes)
    markup += fmt::format(" {}=\"{}\"", attribute.name, text(attribute.value).markup);
  return {markup + fmt::format(">{}</{}>\n", content.markup, tag)};
}

Html element(std::string_view tag, std::string_view plain, std::initializer_list<Attribute> attributes) {
  return element(tag, text(plain), attributes);
}

std::vector<Html> Table::cells_of(const std::vector<std::string>& plain) {
  std::vector<Html> cells;
  for (const std::string& cell : plain) cells.push_back(text(cell));
  return cells;
}

Html Table::row(std::string_view tag, const std::vector<Html>& cells) {
  constexpr size_t long_text = 30;  // in bytes; such a cell may have several lines
  Html row;
  for (const Html& cell : cells)
    row.markup +=
        fmt::format("<{0}{2}>{1}</{0}>", tag, cell.markup, cell.markup.size() > long_text ? " class=\"long\"" : "");
  return element("tr", row);
}

Html Table::html(bool words) const {
  const Html table =
      element("table", element("thead", head_) + element("tbody", rows_), {{"class", words ? "words" : "numbers"}});
  return element("div", table, {{"class", "scroll"}});
}

Html details(std::string_view title, const Html& content, bool open) {
  const Html inside = element("summary", title) + content;
  return open ? element("details", inside, {{"open", "open"}}) : element("details", inside);
}

Html inline_svg(std::string_view svg, std::string_view prefix, std::string_view label) {
  std::string drawing(svg.substr(std::min(svg.find("<svg"), svg.size())));
  // gnuplot names its plots "gnuplot_plot_1", which a browser would show under the mouse.
  for (size_t at = 0; (at = drawing.find("<title>", at)) != std::string::npos;) {
    const size_t end = drawing.find("</title>", at);
    if (end == std::string::npos) break;
    drawing.erase(at, end + 8 - at);
  }
  for (const char quote : {'\'', '"'}) {
    replace_all(drawing, fmt::format(" id={}", quote), fmt::format(" id={}{}", quote, prefix));
    replace_all(drawing, fmt::format("href={}#", quote), fmt::format("href={}#{}", quote, prefix));
  }
  replace_all(drawing, "url(#", fmt::format("url(#{}", prefix));
  drawing.insert(std::min<size_t>(4, drawing.size()),
                 fmt::format(" role=\"img\" aria-label=\"{}\"", text(label).markup));
  return {drawing};
}

Html svg_picture(std::string_view svg, std::string_view label) {
  return {fmt::format("<img alt=\"{}\" src=\"data:image/svg+xml;base64,{}\">\n", text(label).markup, base64(svg))};
}

std::string page(std::string_view title, const Html& body) {
  return std::string(page_begin) + "\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
         "img-src data:\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
         element("title", title).markup + "<style>" + style + "</style>\n</head>\n<body>\n" + body.markup +
         "</body>\n</html>\n";
}

}  // namespace noisysgd::html
