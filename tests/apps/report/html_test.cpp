// The pieces of a page.
#include <noisysgd/apps/report/html.h>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using noisysgd::test::contains;

TEST_CASE("text of a page is escaped, and control characters are shown") {
  CHECK(html::text("<b> & \"q\" 'p'").markup == "&lt;b&gt; &amp; &quot;q&quot; &#39;p&#39;");
  CHECK(html::text("a\x1b\xff\u202e").markup == "a\\x1b\\xff\\u202e");
  CHECK(html::element("p", "<i>", {{"title", "\"><script>"}}).markup ==
        "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;i&gt;</p>\n");
  html::Table table({"<h>"});
  table.add_row(std::vector<std::string>{"a&b"});
  CHECK(contains(table.html().markup, "<th>&lt;h&gt;</th>"));
  CHECK(contains(table.html().markup, "<td>a&amp;b</td>"));
  CHECK(contains(html::page("<t>", {}), "<title>&lt;t&gt;</title>"));
}

TEST_CASE("a page forbids scripts and everything from a network") {
  CHECK(contains(html::page("t", {}),
                 "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
                 "'unsafe-inline'; img-src data:\">"));
}

TEST_CASE("drawings in a page have ids of their own and a description") {
  const html::Html drawing = html::inline_svg(
      "<?xml version=\"1.0\"?>\n<svg width=\"3\"><title>Gnuplot</title><path id='a'/><g id=\"b\"/>"
      "<use xlink:href='#a'/><rect filter='url(#b)'/></svg>",
      "p-", "x < y");
  CHECK(drawing.markup ==
        "<svg role=\"img\" aria-label=\"x &lt; y\" width=\"3\"><path id='p-a'/><g id=\"p-b\"/>"
        "<use xlink:href='#p-a'/><rect filter='url(#p-b)'/></svg>");
}

TEST_CASE("a picture from a file is embedded as an image") {
  const auto source = [](const char* bytes) { return html::svg_picture(bytes, "\"").markup; };
  CHECK(source("f") == "<img alt=\"&quot;\" src=\"data:image/svg+xml;base64,Zg==\">\n");
  CHECK(contains(source("fo"), "base64,Zm8=\""));
  CHECK(contains(source("foo"), "base64,Zm9v\""));
  CHECK(contains(source("\xff\xfe\xfd"), "base64,//79\""));
}
