#include <noisysgd/core/text_table.h>

#include <noisysgd/kernels/check.h>
#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("display width counts terminal columns, not bytes") {
  CHECK(display_width("") == 0);
  CHECK(display_width("abc") == 3);
  CHECK(display_width("98.1 ± 0.2") == 10);
  CHECK(display_width("3×3") == 3);
  CHECK(display_width("σ²·κ") == 4);
  CHECK(display_width("e\u0301") == 1);
  CHECK(display_width("漢字") == 4);
  CHECK(display_width("🙂") == 2);
  CHECK(display_width("\xff\xc2") == 2);
  CHECK(display_width("\xe2\x82") == 2);
}

TEST_CASE("a table is aligned by column") {
  TextTable table({"regime", "accuracy", "time"});
  table.add_row({"SB", "98.10 ± 0.20", "1 s"});
  table.add_row({"LB+Diag", "9.7", ""});
  CHECK(table.text() ==
        "regime       accuracy  time\n"
        "-------  ------------  ----\n"
        "SB       98.10 ± 0.20   1 s\n"
        "LB+Diag           9.7\n");
  CHECK(table.markdown() ==
        "| regime  |     accuracy | time |\n"
        "| ------- | -----------: | ---: |\n"
        "| SB      | 98.10 ± 0.20 |  1 s |\n"
        "| LB+Diag |          9.7 |      |\n");
}

TEST_CASE("alignments can be chosen; bars and line breaks do not break a row") {
  TextTable table({"a", "b"}, {TextTable::Align::right, TextTable::Align::left});
  table.add_row({"12", "x|y\nz"});
  CHECK(table.text() == " a  b\n--  -----\n12  x|y z\n");
  CHECK(table.markdown() == "|   a | b         |\n| --: | --------- |\n|  12 | x\\|y<br>z |\n");
}

TEST_CASE("rows and alignments must fit the header") {
  CHECK_THROWS_AS(TextTable({}), Error);
  CHECK_THROWS_AS(TextTable({"a", "b"}, {TextTable::Align::left}), Error);
  TextTable table({"a", "b"});
  CHECK_THROWS_AS(table.add_row({"x"}), Error);
}
