#include <noisysgd/core/json.h>

#include <fmt/format.h>
#include <rapidcheck.h>

#include <cmath>

#include <noisysgd/core/suggest.h>
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;

namespace {

std::string error_of(const std::string& text) {
  return test::error_of([&] { parse_json(text, "f.json"); });
}

bool starts_with(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

rc::Gen<Json> arbitrary_json(int depth) {
  const auto scalar = rc::gen::oneOf(
      rc::gen::map(rc::gen::arbitrary<std::int64_t>(), [](auto v) { return Json(v); }),
      rc::gen::map(rc::gen::arbitrary<std::uint64_t>(), [](auto v) { return Json(v); }),
      rc::gen::map(rc::gen::arbitrary<double>(), [](auto v) { return Json(std::isfinite(v) ? v : 0.5); }),
      rc::gen::map(rc::gen::arbitrary<bool>(), [](auto v) { return Json(v); }),
      rc::gen::map(rc::gen::string<std::string>(),
                   [](const std::string& v) {
                     std::string ascii;
                     for (const char c : v) ascii += static_cast<char>(c & 0x7F);
                     return Json(ascii);
                   }),
      rc::gen::just(Json()));
  if (depth == 0) return scalar;
  const auto list = rc::gen::map(rc::gen::container<std::vector<Json>>(arbitrary_json(depth - 1)),
                                 [](const std::vector<Json>& v) { return Json(v); });
  const auto object = rc::gen::map(rc::gen::container<std::vector<Json>>(arbitrary_json(depth - 1)), [](const auto& v) {
    Json result = Json::object();
    for (std::size_t i = v.size(); i-- > 0;) result["key " + std::to_string(i)] = v[i];  // not in sorted order
    return result;
  });
  return rc::gen::oneOf(scalar, list, object);
}

}  // namespace

TEST_CASE("parse_json agrees with the library's own reader, key order included") {
  CHECK(rc::check([] {
    const Json json = *arbitrary_json(3);
    const std::string text = json.dump();
    RC_ASSERT(parse_json(text, "f").dump() == Json::parse(text).dump());
    RC_ASSERT(parse_json(json.dump(2), "f").dump() == text);
  }));
  CHECK(parse_json(R"({"b": 1, "a": [true, null, -2, 1.5, "x"], "c": {}})", "f").dump() ==
        R"({"b":1,"a":[true,null,-2,1.5,"x"],"c":{}})");
}

TEST_CASE("a syntax error names line and column") {
  CHECK(starts_with(error_of("{\n  \"a\": 1,\n  \"b\": x\n}"), "f.json:3:8: syntax error"));
  CHECK(starts_with(error_of("["), "f.json:1:2: syntax error"));
  CHECK(starts_with(error_of(""), "f.json:1:1: "));
  CHECK(starts_with(error_of("{}\n{}"), "f.json:2:1: "));
  CHECK(starts_with(error_of("{\"a\": 01}"), "f.json:1:8: "));
  CHECK(starts_with(error_of("[1e999]"), "f.json:1:6: number overflow"));
  CHECK(starts_with(error_of("[NaN]"), "f.json:1:2: "));
  CHECK(starts_with(error_of("[1,]"), "f.json:1:4: "));
  CHECK(starts_with(error_of("[\"\xff\"]"), "f.json:1:3: "));
  CHECK(error_of("[1] // no").find("exception") == std::string::npos);
}

TEST_CASE("all duplicate keys are reported, each once, with their paths") {
  const std::string message = error_of(R"({
    "a": 1, "a": 2, "a": 3,
    "layers": [{"k": 1}, {"k": 1, "x": {"odd key": 1, "odd key": {"y": 1, "y": 2}}, "k": 2}],
    "b": {"a": 1}
  })");
  CHECK(message ==
        "f.json: 4 duplicate keys\n"
        "  $.a: duplicate key\n"
        "  $.layers[1].x[\"odd key\"]: duplicate key\n"
        "  $.layers[1].x[\"odd key\"].y: duplicate key\n"
        "  $.layers[1].k: duplicate key");
}

TEST_CASE("of many long duplicate keys the first twenty are reported in short form") {
  std::string distinct, nested = "1";
  for (int i = 0; i < 900; ++i) distinct += fmt::format("\"key {0}\": 1, \"key {0}\": 2, ", i);
  const std::string many = error_of("{" + distinct + "\"end\": 0}");
  CHECK(starts_with(many, "f.json: at least 20 duplicate keys\n  $[\"key 0\"]: duplicate key\n"));
  CHECK(many.size() < 1000);
  std::string repeated = "{\"a\": 0";
  for (int i = 0; i < 100'000; ++i) repeated += ", \"a\": 0";
  CHECK(error_of(repeated + "}") == "f.json: 1 duplicate key\n  $.a: duplicate key");

  const std::string key = "\"" + std::string(1000, 'k') + "\": ";
  for (int i = 0; i < 200; ++i) nested = "{" + key + "0, " + key + nested + "}";
  CHECK(error_of(nested).size() < 20u * 200 * 100);
}

TEST_CASE("a document is limited in size, and an object in its number of keys") {
  const auto object = [](int keys) {
    std::string text = "{\"o\": {";
    for (int i = 0; i < keys; ++i) text += fmt::format("{}\"k{}\": 0", i == 0 ? "" : ", ", i);
    return text + "}}";
  };
  CHECK(error_of(object(1000)) == "no error was thrown");
  CHECK(error_of(object(1001)) == "f.json: $.o: has more than 1000 keys");
  CHECK(parse_json(object(100'000), "f", {.keys = 100'000})["o"].size() == 100'000);
  const std::string large(std::size_t{16} << 20, ' ');
  CHECK(error_of("1" + large.substr(1)) == "no error was thrown");
  CHECK(error_of("1" + large) == "f.json: has 16777217 bytes; at most 16777216 are allowed");
}

TEST_CASE("nesting is limited, so that hostile input cannot exhaust the stack") {
  CHECK(error_of(std::string(256, '[') + std::string(256, ']')) == "no error was thrown");
  CHECK(error_of(std::string(257, '[') + std::string(257, ']')).find("nested deeper") != std::string::npos);
  CHECK(error_of(std::string(5'000'000, '[')).find("nested deeper") != std::string::npos);
}

TEST_CASE("the nearest name is found, and only a near one") {
  const std::vector<std::string> known = {"learning_rate", "momentum", "weight_decay", "batch", "seed"};
  CHECK(nearest_name("learing_rate", known) == "learning_rate");
  CHECK(nearest_name("learningRate", known) == "learning_rate");
  CHECK(nearest_name("Learning-Rate", known) == "learning_rate");
  CHECK(nearest_name("momentmu", known) == "momentum");
  CHECK(nearest_name("wieght_deacy", known) == "weight_decay");
  CHECK(nearest_name("sede", known) == "seed");
  CHECK(nearest_name("batchs", known) == "batch");
  CHECK(nearest_name("epochs", known) == "");
  CHECK(nearest_name("x", known) == "");
  CHECK(nearest_name("", known) == "");
  CHECK(nearest_name("b", std::vector<std::string>{"a"}) == "");
  CHECK(suggestion("sed", known) == "; did you mean \"seed\"?");
  CHECK(suggestion("zzz", std::vector<std::string>{"a", "b"}) == "; known: \"a\", \"b\"");
  CHECK(suggestion("zzz", {}) == "");
}

TEST_CASE("the beginning of one name only stands for it") {
  const std::vector<std::string> known{"diagonal_fisher", "full_fisher", "fisher_trace", "train_limit", "train_size"};
  CHECK(nearest_name("diag", known) == "diagonal_fisher");
  CHECK(nearest_name("Full", known) == "full_fisher");
  CHECK(nearest_name("fish", known) == "fisher_trace");
  CHECK(nearest_name("train", known) == "");
  CHECK(nearest_name("di", known) == "");
}
