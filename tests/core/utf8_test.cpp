#include <noisysgd/core/utf8.h>

#include <rapidcheck.h>

#include <nlohmann/json.hpp>

#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("UTF-8 is distinguished from other bytes") {
  for (const char* text :
       {"", "plain", "\x7F", "\xC2\x80", "é", "€", "\xED\x9F\xBF", "\xEE\x80\x80", "𝄞", "\xF4\x8F\xBF\xBF"})
    CHECK(is_utf8(text));
  for (const char* bytes :
       {"\x80", "\xE9t\xE9", "\xC3", "\xE2\x82", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFF", "ab\xC3(", "\xC3\xA9\xA9"})
    CHECK_FALSE(is_utf8(bytes));
  CHECK(is_utf8(std::string("a\0b", 3)));
}

TEST_CASE("a JSON text can hold exactly the accepted bytes") {
  CHECK(rc::check([] {
    const auto bytes = *rc::gen::container<std::string>(
        rc::gen::elementOf(std::string("a\x80\x8F\x90\x9F\xA0\xBF\xC1\xC2\xDF\xE0\xE1\xED\xEF\xF0\xF1\xF4\xF5")));
    bool writable = true;
    try {
      nlohmann::json(bytes).dump();
    } catch (const nlohmann::json::exception&) {
      writable = false;
    }
    RC_ASSERT(is_utf8(bytes) == writable);
  }));
}

TEST_CASE("a text is shortened between characters") {
  CHECK(shortened("abcdef", 6) == "abcdef");
  CHECK(shortened("abcdefg", 6) == "abc…");
  CHECK(shortened("aéééé", 6) == "aé…");
  CHECK(shortened("ééééé", 6) == "é…");
  CHECK(has_control_characters("a\x1B[0m"));
  CHECK(has_control_characters(std::string("a\0", 2)));
  CHECK(has_control_characters("\x7F"));
  CHECK_FALSE(has_control_characters("é ok"));
}
