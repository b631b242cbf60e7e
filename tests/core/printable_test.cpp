#include <noisysgd/core/printable.h>

#include "tests/catch.h"

using noisysgd::printable;

TEST_CASE("text without control characters is shown unchanged") {
  for (const char* text : {"", "LB+Diag", "two\nlines\tand a tab", "größer × 3 ≤ 4", "日本語", "\xf0\x9f\x8e\xb2"})
    CHECK(printable(text) == text);
}

TEST_CASE("a terminal's control characters are shown as escapes") {
  CHECK(printable("\x1b[2J") == "\\x1b[2J");
  CHECK(printable("a\rb\bc\x7f") == "a\\x0db\\x08c\\x7f");
  CHECK(printable(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\u009b31m");  // CSI in one character
  CHECK(printable("\xc2\xa0") == "\xc2\xa0");
  CHECK(printable("safe\xe2\x80\xae"
                  "gnp") == "safe\\u202egnp");  // right-to-left override
  // The characters that reorder, U+202A to U+202E and U+2066 to U+2069, and their neighbours.
  CHECK(printable("\xe2\x80\xa9|\xe2\x80\xaa|\xe2\x80\xaf") == "\xe2\x80\xa9|\\u202a|\xe2\x80\xaf");
  CHECK(printable("\xe2\x81\xa5|\xe2\x81\xa6|\xe2\x81\xa9|\xe2\x81\xaa") ==
        "\xe2\x81\xa5|\\u2066|\\u2069|\xe2\x81\xaa");
}

TEST_CASE("bytes that are not UTF-8 are shown as escapes, one by one") {
  CHECK(printable("\xe9t\xe9") == "\\xe9t\\xe9");
  CHECK(printable("\xc3") == "\\xc3");                             // cut off
  CHECK(printable("\xc0\x80") == "\\xc0\\x80");                    // overlong
  CHECK(printable("\xe0\x82\x80") == "\\xe0\\x82\\x80");           // overlong
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // surrogate
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // above U+10FFFF
  CHECK(printable("\xff") == "\\xff");
}
