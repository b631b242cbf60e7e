#include <noisysgd/core/config.h>

#include <fmt/format.h>
#include <rapidcheck.h>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using noisysgd::test::error_of;

namespace {

Config config_of(const std::string& text) { return Config(parse_config(text, "test.json"), "test.json"); }

std::vector<std::string> problems_of(const Config& config) {
  try {
    config.finish();
  } catch (const ConfigError& error) {
    return error.problems();
  }
  return {};
}

using Problems = std::vector<std::string>;
enum class Kind { empirical, exact };

}  // namespace

TEST_CASE("values are read and the effective document has every default, in the order of reading") {
  const Config config = config_of(R"({
    "comment": "free", "noise": {"sigma": 2, "$comment why": "because"}, "steps": 7,
    "layers": [{"type": "conv", "kernel": [3, 5]}, {"type": "relu"}], "resume": null, "names": ["x"], "verbose": true,
    "rates": [1, 0.5]})");
  const ConfigReader root = config.root();
  CHECK(root.integer("steps", {.at_least = 1}) == 7);
  CHECK(root.number("learning_rate", {.default_value = 0.1, .above = 0}) == 0.1);
  CHECK(root.boolean("verbose", false));
  CHECK_FALSE(root.boolean("quiet", false));
  CHECK(root.string("name", "run") == "run");
  CHECK(root.strings("names") == std::vector<std::string>{"x"});
  CHECK(root.numbers("rates") == std::vector<double>{1, 0.5});
  CHECK(root.integers("milestones", {.default_value = std::vector<std::int64_t>{}}).empty());
  CHECK_FALSE(root.optional_string("resume"));
  CHECK_FALSE(root.optional_integer("limit"));
  CHECK(root.optional_number("clip", {.default_value = 1.5}) == 1.5);
  const ConfigReader noise = root.object("noise");
  CHECK(noise.path() == "$.noise");
  CHECK(noise.number("sigma") == 2);
  CHECK(noise.choice<Kind>("kind", {{"empirical", Kind::empirical}, {"true", Kind::exact}}, Kind::exact) ==
        Kind::exact);
  const ConfigReader absent = root.object("schedule");
  CHECK(absent.choice("type", {"constant", "cosine"}, "cosine") == "cosine");
  CHECK_FALSE(root.optional_object("data"));
  const auto layers = root.objects("layers");
  REQUIRE(layers.size() == 2);
  CHECK(layers[1].path() == "$.layers[1]");
  CHECK(layers[0].string("type") == "conv");
  CHECK(layers[0].integer_pair("kernel") == std::array<std::int64_t, 2>{3, 5});
  CHECK(layers[0].integer_pair("stride", {.default_value = 2}) == std::array<std::int64_t, 2>{2, 2});
  CHECK(layers[1].string("type") == "relu");
  CHECK(root.any("expect", {{"accuracy", 0.9}})["accuracy"] == 0.9);

  const Json effective = config.finish();
  CHECK(effective.dump() ==
        R"({"steps":7,"learning_rate":0.1,"verbose":true,"quiet":false,"name":"run","names":["x"],"rates":[1,0.5],)"
        R"("milestones":[],"resume":null,"limit":null,"clip":1.5,"noise":{"sigma":2,"kind":"true"},)"
        R"("schedule":{"type":"cosine"},"data":null,"layers":[{"type":"conv","kernel":[3,5],"stride":2},)"
        R"({"type":"relu"}],"expect":{"accuracy":0.9}})");
}

TEST_CASE("the effective document is a fixed point: reading it again gives itself") {
  const auto read = [](const Json& document) {
    const Config config(document);
    const ConfigReader root = config.root();
    root.number("rate", {.default_value = 0.1});
    root.optional_number("clip");
    root.object("noise").choice("type", {"none", "isotropic"}, "none");
    root.object("noise").number("sigma", {.default_value = 1.0});
    root.objects("layers");
    root.integer_pair("kernel", {.default_value = 3});
    root.integers("list", {.default_value = std::vector<std::int64_t>{1, 2}});
    return config.finish();
  };
  const Json once = read(Json::object());
  CHECK(once.size() == 6);
  CHECK(read(once) == once);
}

TEST_CASE("a name that is a JSON literal may be given without quotes and is recorded as a text") {
  const Config config = config_of(R"({"kind": true, "depth": 16, "type": false, "mode": 3, "list": ["true"]})");
  const ConfigReader root = config.root();
  CHECK(root.choice("kind", {"empirical", "true"}) == "true");
  CHECK(root.choice("depth", {"16", "19"}) == "16");
  root.choice("type", {"a", "true"}, "a");
  root.choice("mode", {"a", "b"}, "a");
  root.choice("list", {"true"}, "true");
  CHECK(problems_of(config) == Problems{"$.type: expected one of \"a\", \"true\", got false",
                                        "$.mode: expected one of \"a\", \"b\", got 3",
                                        "$.list: expected one of \"true\", got a list of 1"});
  Json document = Json::object();
  apply_override(document, "kind=true");
  const Config overridden(document);
  overridden.root().choice("kind", {"empirical", "true"});
  CHECK(overridden.finish() == Json{{"kind", "true"}});
}

TEST_CASE("all problems of all kinds come in one message with their paths") {
  const Config config = config_of(R"({
    "learing_rate": 0.1, "momentum": 1.0, "epochs": "ten", "batch": 0, "nesterov": 1, "name": 5,
    "noise": {"type": "isotropc", "sigma": 1},
    "data": {"rot": "/x", "train": true},
    "model": [], "layers": [{"channels": 1.5}, 7, {"chanels": 3}],
    "milestones": [30, -1, "x"], "comment": 3, "betas": [0.5]})");
  const ConfigReader root = config.root();
  CHECK(root.number("learning_rate", {.above = 0}) > 0);
  CHECK(root.number("momentum", {.default_value = 0.9, .at_least = 0, .below = 1}) == 0.9);
  CHECK(root.integer("epochs", {.at_least = 5, .at_most = 9}) >= 5);
  CHECK(root.integer("batch", {.at_least = 1}) >= 1);
  root.boolean("nesterov", false);
  root.string("name");
  root.object("noise").choice("type", {"none", "isotropic"}, "none");
  root.object("data").string("root");
  root.object("data").boolean("train", true);
  root.object("model").string("required_but_unjudgeable");
  for (const ConfigReader& layer : root.objects("layers")) CHECK(layer.integer("channels") >= 1);
  CHECK(root.integers("milestones", {.each = {.at_least = 1}}).size() == 3);
  CHECK(root.numbers("betas", {.length = {.at_least = 2, .at_most = 2}}).size() == 2);
  root.error("batch", "does not fit the data set");
  CHECK(config.has_problems());
  CHECK(problems_of(config) ==
        Problems{
            "$.learning_rate: missing: a number is required",
            "$.momentum: must be below 1, got 1",
            "$.epochs: expected an integer, got text \"ten\"",
            "$.batch: must be at least 1, got 0",
            "$.nesterov: expected true or false, got 1",
            "$.name: expected a text, got 5",
            "$.noise.type: expected one of \"none\", \"isotropic\", got text \"isotropc\"; did you mean \"isotropic\"?",
            "$.data.root: missing: a text is required",
            "$.model: expected an object, got a list of 0",
            "$.layers[1]: expected an object, got 7",
            "$.layers[0].channels: expected an integer, got 1.5",
            "$.layers[2].channels: missing: an integer is required",
            "$.milestones[1]: must be at least 1, got -1",
            "$.milestones[2]: expected an integer, got text \"x\"",
            "$.betas: must have 2 entries, has 1",
            "$.batch: does not fit the data set",
            "$.learing_rate: unknown key; did you mean \"learning_rate\"?",
            "$.comment: a comment must be a text, got 3",
            "$.data.rot: unknown key; did you mean \"root\"?",
            "$.layers[2].chanels: unknown key; did you mean \"channels\"?",
        });
  CHECK(error_of([&] { config.finish(); }).rfind("test.json: 20 problems\n  $.learning_rate: missing", 0) == 0);
}

TEST_CASE("bounds are inclusive or exclusive as they say") {
  const auto accepts = [](double value, const NumberRule& rule) {
    const Config config(Json{{"x", value}});
    config.root().number("x", rule);
    return !config.has_problems();
  };
  CHECK(accepts(0, {.at_least = 0}));
  CHECK_FALSE(accepts(-1e-300, {.at_least = 0}));
  CHECK_FALSE(accepts(0, {.above = 0}));
  CHECK(accepts(1e-30, {.above = 0}));
  CHECK(accepts(1, {.at_most = 1}));
  CHECK_FALSE(accepts(1.0000001, {.at_most = 1}));
  CHECK_FALSE(accepts(1, {.below = 1}));
  CHECK(accepts(0.9999, {.below = 1}));
}

TEST_CASE("a number must satisfy its bounds in single precision too") {
  const auto problem = [](const std::string& value, const NumberRule& rule) {
    const Config config = config_of("{\"x\": " + value + "}");
    config.root().number("x", rule);
    const Problems found = problems_of(config);
    return found.empty() ? "" : found.front();
  };
  const NumberRule momentum{.at_least = 0, .below = 1}, rate{.above = 0};
  CHECK(problem("0.99999994", momentum).empty());  // 1 - 2^-24, the last float below 1
  CHECK(problem("0.99999999", momentum) == "$.x: must be below 1, got 0.99999999, which is 1 in single precision");
  CHECK(problem("1e-45", rate).empty());  // 2^-149, the first float above 0
  CHECK(problem("1e-46", rate) == "$.x: must be above 0, got 1e-46, which is 0 in single precision");
  CHECK(problem("1e-46", {}) == "$.x: must be 0 or further from it, got 1e-46, which is 0 in single precision");
  CHECK(problem("0", {}).empty());
  CHECK(problem("3.4e38", rate).empty());
  for (const std::string large : {"3.5e38", "-3.5e38", "1e308"})
    CHECK(problem(large, {}) == "$.x: must be at most 3.4028235e+38 in size, got " +
                                    (large == "1e308" ? "1e+308" : large.substr(0, large.size() - 2) + "+38"));
  CHECK(problem("0.1", {.at_most = 0.1}).empty());  // 0.1 rounds up, and so does the bound
}

TEST_CASE("every value is bounded, even if its rule sets no bounds") {
  const auto problem = [](const Json& value) {
    const Config config(Json{{"x", value}});
    config.root().integer("x", {.at_least = 0});
    const Problems found = problems_of(config);
    return found.empty() ? "" : found.front();
  };
  CHECK(problem(2147483647).empty());
  for (const std::uint64_t value : {std::uint64_t{1} << 31, std::uint64_t{1} << 32, std::uint64_t{1} << 62, UINT64_MAX})
    CHECK(problem(value) == fmt::format("$.x: must be at most 2147483647, got {}", value));
  const Config lists(Json{{"ok", std::vector<int>(10'000)},
                          {"x", std::vector<int>(10'001)},
                          {"objects", std::vector<Json>(10'001, Json::object())}});
  CHECK(lists.root().integers("ok").size() == 10'000);
  CHECK(lists.root().integers("x").size() == 10'000);
  CHECK(lists.root().objects("objects").size() == 10'000);
  CHECK(problems_of(lists) == Problems{"$.x: must have at most 10000 entries, has 10001",
                                       "$.objects: must have at most 10000 entries, has 10001"});
}

TEST_CASE("a text with NUL, at which file names and patterns would end, is refused") {
  const Config config = config_of("{\"x\": \"a\\u0000b\"}");
  config.root().string("x");
  CHECK(problems_of(config) == Problems{"$.x: must not contain the character NUL, got text \"a\\u0000b\""});
}

TEST_CASE("only the first hundred problems are reported") {
  Json list = Json::array();
  for (int i = 0; i < 9000; ++i) list.push_back(-i - 1);
  const Config config(Json{{"x", list}});
  config.root().integers("x", {.each = {.at_least = 0}});
  const Problems problems = problems_of(config);
  CHECK(problems.size() == 101);
  CHECK(problems[99] == "$.x[99]: must be at least 0, got -100");
  CHECK(problems[100] == "and more");
}

TEST_CASE("integers are exact and never wrap") {
  const IntegerRule any{.at_least = INT64_MIN, .at_most = INT64_MAX};
  const auto problem = [&](const std::string& value) {
    const Config config = config_of("{\"x\": " + value + "}");
    config.root().integer("x", any);
    const Problems found = problems_of(config);
    return found.empty() ? "" : found.front();
  };
  CHECK(problem("9223372036854775807").empty());
  CHECK(problem("-9223372036854775808").empty());
  CHECK(problem("9223372036854775808") == "$.x: must be at most 9223372036854775807, got 9223372036854775808");
  CHECK(problem("1e3").empty());
  CHECK(problem("-0.0").empty());
  CHECK(problem("9007199254740992.0").empty());
  CHECK(problem("9007199254740994.0") == "$.x: expected an integer, got 9.007199254740994e+15");  // above 2^53
  CHECK(problem("1.5") == "$.x: expected an integer, got 1.5");
  CHECK(problem("true") == "$.x: expected an integer, got true");
  CHECK(problem("null") == "$.x: expected an integer, got null");
  CHECK(config_of(R"({"x": 9223372036854775807})").root().integer("x", any) ==
        std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("a faulty key still gives a value that satisfies its rule") {
  CHECK(rc::check([] {
    const double low = *rc::gen::map(rc::gen::inRange(-1000, 1000), [](int v) { return v / 7.0; });
    const double width = *rc::gen::map(rc::gen::inRange(1, 1000), [](int v) { return v / 3.0; });
    const Config config(Json{{"x", "wrong"}});
    const double open = config.root().number("x", {.above = low, .below = low + width});
    RC_ASSERT(open > low && open < low + width);
    const double closed = config.root().number("x", {.at_least = low, .at_most = low + width});
    RC_ASSERT(closed >= low && closed <= low + width);
    const auto least = *rc::gen::inRange<std::int64_t>(-100, 100);
    const auto most = least + *rc::gen::inRange<std::int64_t>(0, 100);
    const std::int64_t integer = config.root().integer("x", {.at_least = least, .at_most = most});
    RC_ASSERT(integer >= least && integer <= most);
  }));
}

TEST_CASE("after a wrong type the other keys of its object are not checked, but those of other objects are") {
  const Config config =
      config_of(R"({"layers": [{"type": "conv3d", "kernel": 3}, {"kernel": 3}, {"type": "relu", "k": 1}]})");
  for (const ConfigReader& layer : config.root().objects("layers")) {
    if (layer.string("type") == "conv3d") layer.error("type", "unknown layer");
  }
  CHECK(problems_of(config) == Problems{"$.layers[0].type: unknown layer",
                                        "$.layers[1].type: missing: a text is required",
                                        "$.layers[2].k: unknown key; known: \"type\""});
}

TEST_CASE("keys read twice are reported and recorded once; an unread object is an unknown key") {
  const Config config = config_of(R"({"a": "x", "b": {"c": 1}, "d": {"e": 1}})");
  config.root().integer("a");
  config.root().integer("a");
  config.root().object("b").integer("c");
  config.root().object("b").integer("f", {.default_value = 1});
  CHECK(config.root().has("d"));
  CHECK(problems_of(config) ==
        Problems{"$.a: expected an integer, got text \"x\"", "$.d: unknown key; known: \"a\", \"b\""});
}

TEST_CASE("a document that is not an object, null objects and missing lists") {
  const Config list(Json::array(), "f");
  list.root().integer("needed");
  CHECK(problems_of(list) == Problems{"$: expected an object, got a list of 0"});
  const Config config = config_of(R"({"a": null, "b": null, "c": {}})");
  config.root().object("a");
  config.root().optional_object("b");
  CHECK(config.root().objects("layers", {.at_least = 1}).empty());
  CHECK(config.root().objects("c").empty());
  CHECK(problems_of(config) == Problems{"$.a: expected an object, got null",
                                        "$.layers: missing: a list of objects is required",
                                        "$.c: expected a list of objects, got an object"});
}

TEST_CASE("a reader outlives its configuration") {
  std::optional<ConfigReader> reader;
  {
    const Config config = config_of(R"({"a": {"b": 4}})");
    reader = config.root().object("a");
  }
  CHECK(reader->integer("b") == 4);
}

TEST_CASE("a default outside the choices is an error of the program") {
  const Config config = config_of("{}");
  CHECK_THROWS_AS(config.root().choice("a", {"x"}, "y"), Error);
}

TEST_CASE("configuration files: syntax errors and duplicates are ConfigErrors") {
  const test::TemporaryFolder folder;
  const std::string path = (folder / "c.json").string();
  write_file_atomically(path, "{\"a\": 1,\n \"a\": 2}");
  CHECK(error_of([&] { parse_config_file(path); }) == path + ": 1 duplicate key\n  $.a: duplicate key");
  write_file_atomically(path, "{\"a\": 1,\n}");
  CHECK(error_of([&] { parse_config_file(path); }).rfind(path + ":2:1: syntax error", 0) == 0);
  write_file_atomically(path, "{\"a\": 1}");
  CHECK(parse_config_file(path)["a"] == 1);
  CHECK_THROWS_AS(parse_config_file(path + "x"), Error);
}

TEST_CASE("merge_config follows the examples of RFC 7386, appendix A") {
  const auto merged = [](const char* base, const char* patch) {
    return merge_config(Json::parse(base), Json::parse(patch)).dump();
  };
  CHECK(merged(R"({"a":"b"})", R"({"a":"c"})") == R"({"a":"c"})");
  CHECK(merged(R"({"a":"b"})", R"({"b":"c"})") == R"({"a":"b","b":"c"})");
  CHECK(merged(R"({"a":"b"})", R"({"a":null})") == "{}");
  CHECK(merged(R"({"a":"b","b":"c"})", R"({"a":null})") == R"({"b":"c"})");
  CHECK(merged(R"({"a":["b"]})", R"({"a":"c"})") == R"({"a":"c"})");
  CHECK(merged(R"({"a":"c"})", R"({"a":["b"]})") == R"({"a":["b"]})");
  CHECK(merged(R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})") == R"({"a":{"b":"d"}})");
  CHECK(merged(R"({"a":[{"b":"c"}]})", R"({"a":[1]})") == R"({"a":[1]})");
  CHECK(merged(R"(["a","b"])", R"(["c","d"])") == R"(["c","d"])");
  CHECK(merged(R"({"a":"b"})", R"(["c"])") == R"(["c"])");
  CHECK(merged(R"({"a":"foo"})", "null") == "null");
  CHECK(merged(R"({"e":null})", R"({"a":1})") == R"({"e":null,"a":1})");
  CHECK(merged(R"([1,2])", R"({"a":"b","c":null})") == R"({"a":"b"})");
  CHECK(merged("{}", R"({"a":{"bb":{"ccc":null}}})") == R"({"a":{"bb":{}}})");
}

TEST_CASE("merge_config replaces an object whose type changes, and only that") {
  const Json base =
      Json::parse(R"({"lr": 1, "noise": {"type": "diagonal", "kind": "true", "sub": {"type": "a", "x": 1}}})");
  CHECK(merge_config(base, Json::parse(R"({"noise": {"type": "isotropic", "sigma": 1, "y": null}})")).dump() ==
        R"({"lr":1,"noise":{"type":"isotropic","sigma":1}})");
  CHECK(merge_config(base, Json::parse(R"({"noise": {"type": "diagonal", "sigma": 1}})"))["noise"].size() == 4);
  CHECK(merge_config(base, Json::parse(R"({"noise": {"sub": {"type": "b"}}})"))["noise"].dump() ==
        R"({"type":"diagonal","kind":"true","sub":{"type":"b"}})");
  CHECK(merge_config(base, Json::parse(R"({"noise": {"type": null}})"))["noise"].dump() == "{}");
  CHECK(merge_config(Json::parse(R"({"sigma": 1})"), Json::parse(R"({"type": "x"})")).size() == 2);
}

TEST_CASE("config_differences names every place where two documents differ, and nothing else") {
  const Json there =
      Json::parse(R"({"a": {"b": 1, "old": "x"}, "list": [1, {"c": 2}], "short": [1], "same": [null, {}]})");
  const Json here =
      Json::parse(R"({"same": [null, {}], "a": {"b": 2, "new": false}, "list": [1, {"c": 3}], "short": []})");
  CHECK(config_differences(there, there).empty());
  CHECK(config_differences(there, here) ==
        std::vector<std::string>{"$.a.b: 1 there, 2 here", "$.a.old: \"x\" there, absent here",
                                 "$.a.new: absent there, false here", "$.list[1].c: 2 there, 3 here",
                                 "$.short: [1] there, [] here"});
  CHECK(config_differences(Json{{"a", nullptr}}, Json::object()) ==
        std::vector<std::string>{"$.a: null there, absent here"});
}

TEST_CASE("apply_override sets one value, parsed as JSON where it is JSON") {
  const auto after = [](const char* document, const char* assignment) {
    Json json = Json::parse(document);
    apply_override(json, assignment);
    return json.dump();
  };
  CHECK(after(R"({"a":{"b":1}})", "a.b=2.5") == R"({"a":{"b":2.5}})");
  CHECK(after("{}", "a.b.c=true") == R"({"a":{"b":{"c":true}}})");
  CHECK(after("{}", "$.a=[1,\"x\"]") == R"({"a":[1,"x"]})");
  CHECK(after("{}", "name=LB+Diag") == R"({"name":"LB+Diag"})");
  CHECK(after("{}", "url=http://x?a=b") == R"({"url":"http://x?a=b"})");
  CHECK(after("{}", "a=") == R"({"a":""})");
  CHECK(after("{}", "a=\"1\"") == R"({"a":"1"})");
  CHECK(after(R"({"a":1})", "a=null") == R"({"a":null})");
  CHECK(after(R"({"r":[{"n":1},{"n":2}]})", "r[1].n=3") == R"({"r":[{"n":1},{"n":3}]})");
  CHECK(after(R"({"r":[{"n":1},{"n":2}]})", "r.0.n=3") == R"({"r":[{"n":3},{"n":2}]})");
  CHECK(after(R"({"r":[{"name":"LB"},{"name":"LB+Diag"}]})", "r[LB+Diag].n.x=3") ==
        R"({"r":[{"name":"LB"},{"name":"LB+Diag","n":{"x":3}}]})");
  CHECK(after(R"({"r":[{"name":"a.b"},{"name":"a"}]})", "r.a.n=3") == R"({"r":[{"name":"a.b"},{"name":"a","n":3}]})");
  CHECK(after(R"({"r":[{"name":"a.b"},{"name":"1"}]})", "r[1]=3") == R"({"r":[{"name":"a.b"},3]})");
  CHECK(after(R"({"r":[[1,2],[3]]})", "r[0][1]=9") == R"({"r":[[1,9],[3]]})");
  CHECK(after(R"({"a":{"b":1}})", "a=5") == R"({"a":5})");
}

TEST_CASE("list entries of any name can be addressed") {
  const auto after = [](const std::string& name, const std::string& assignment) {
    Json json{{"r", {Json{{"name", "other"}}, Json{{"name", name}}}}};
    apply_override(json, assignment);
    REQUIRE(json["r"].size() == 2);
    return json["r"][1].value("n", Json());
  };
  CHECK(after("M=20", "r[M=20].n=3=4") == "3=4");
  CHECK(after("a,b", "r[a,b].n=3") == 3);
  CHECK(after("a[1]", "r[a[1]].n=3") == 3);
  CHECK(after("[x=[]]", "r[[x=[]]].n=3") == 3);
  CHECK(after("a]=", "r[\"a]=\"].n=3") == 3);
  CHECK(after("say \"]\"", "r[\"say \\\"]\\\"\"].n=3") == 3);
  CHECK(after("7", "r[\"7\"].n=3") == 3);
  CHECK(after("1", "r[1].n=3") == 3);
  Json key{{"a b", 1}};
  apply_override(key, "o[\"c.d\"].x=2");
  apply_override(key, "o[\"c.d\"].y=3");
  CHECK(key["o"]["c.d"].dump() == R"({"x":2,"y":3})");
}

TEST_CASE("bracketed_name addresses an entry of any name") {
  CHECK(bracketed_name("LB+Diag") == "LB+Diag");
  CHECK(bracketed_name("M=20") == "M=20");
  CHECK(bracketed_name("a[1]") == "a[1]");
  CHECK(bracketed_name("a]b[") == "\"a]b[\"");
  CHECK(bracketed_name("12") == "\"12\"");
  CHECK(rc::check([] {
    const auto letter = rc::gen::elementOf(std::string("ab1 =,.[]\"\\{}"));
    const std::string name = *rc::gen::nonEmpty(rc::gen::container<std::string>(letter));
    Json json{{"r", {Json{{"name", "other"}}, Json{{"name", name}}}}};
    apply_override(json, "r[" + bracketed_name(name) + "].n==[=]");
    RC_ASSERT(json["r"][1].value("n", "") == "=[=]");
  }));
}

TEST_CASE("an assignment that is not UTF-8 is refused, any other gives a document that can be written") {
  Json json = Json::object();
  CHECK(error_of([&] { apply_override(json, "name=n\xE9"); }) == "override: the assignment is not UTF-8");
  CHECK(json.empty());
  CHECK(rc::check([] {
    const auto byte = rc::gen::elementOf(std::string("a.[]=\"\\0\x80\xC3\xA9\0", 12));
    const std::string assignment = *rc::gen::container<std::string>(byte);
    Json document{{"a", {{"a", 1}}}, {"r", {Json{{"name", "a"}}}}};
    try {
      apply_override(document, assignment);
    } catch (const ConfigError&) {
    }
    RC_ASSERT(!document.dump().empty());
  }));
}

TEST_CASE("a malformed override is refused and changes nothing") {
  const Json before = Json::parse(R"({"a": 1, "list": [1, 2], "o": {}, "r": [{"name": "LB"}, {"name": 3}, {}],
    "names": [{"name": "1"}, {"name": "0"}]})");
  Json json = before;
  const auto problem = [&](const char* assignment) { return error_of([&] { apply_override(json, assignment); }); };
  CHECK(problem("a") == "override \"a\": expected PATH=VALUE");
  for (const char* malformed : {"r[\"LB].x=1", "r[\"LB\"x].x=1", "r[\"\\x\"].x=1", "r[a[b].x=1", "=1", ".a=1", "a.=1",
                                "a..b=1", "list[=1", "list[]=1", "list[0]x=1", "[0]=1", "$.=1"}) {
    CAPTURE(malformed);
    CHECK(problem(malformed).find("malformed path") != std::string::npos);
  }
  CHECK(problem("a.b=1") == "override \"a.b=1\": $.a: is neither an object nor a list but 1");
  CHECK(problem("list[2]=1") == "override \"list[2]=1\": $.list: has 2 entries; there is no [2]");
  CHECK(problem("list.x=1") == "override \"list.x=1\": $.list: is a list; expected an index, got \"x\"");
  for (const std::string index : {"x", "-1", "99999999999999999999"})
    CHECK(problem(("list[" + index + "]=1").c_str()) ==
          "override \"list[" + index + "]=1\": $.list: is a list; expected an index, got \"" + index + "\"");
  CHECK(problem("r[lb].x=1") == "override \"r[lb].x=1\": $.r: has no entry named \"lb\"; did you mean \"LB\"?");
  CHECK(problem("r[other].x=1") == "override \"r[other].x=1\": $.r: has no entry named \"other\"; known: \"LB\"");
  CHECK(
      problem("names[1].x=1") ==
      "override \"names[1].x=1\": $.names: [1] is the index of one entry and the name of another; [\"1\"] is the name");
  CHECK(problem("o[0]=1") == "override \"o[0]=1\": $.o: is an object, not a list; there is no [0]");
  CHECK(problem("new.b[0]=1").find("is an object, not a list") != std::string::npos);
  CHECK(problem("a={\"x\": 1").find("syntax error") != std::string::npos);
  CHECK(problem("a={\"x\": 1, \"x\": 2}").find("duplicate key") != std::string::npos);
  CHECK(json == before);
}

TEST_CASE("a whole number with a fraction of 0 is an integer, and is recorded as one") {
  const Config config = config_of(R"({"epochs": 2.0, "list": [1, 3e1], "kernel": [2.0, 3], "rate": 2.0})");
  CHECK(config.root().integer("epochs") == 2);
  CHECK(config.root().integers("list") == std::vector<std::int64_t>{1, 30});
  CHECK(config.root().integer_pair("kernel", {}) == std::array<std::int64_t, 2>{2, 3});
  config.root().number("rate");
  CHECK(config.finish().dump() == R"({"epochs":2,"list":[1,30],"kernel":[2,3],"rate":2.0})");
  const Config bounded = config_of(R"({"epochs": 0.0})");
  bounded.root().integer("epochs", {.at_least = 1});
  CHECK(problems_of(bounded) == Problems{"$.epochs: must be at least 1, got 0"});
}

TEST_CASE("lists of texts and integers may have to be distinct, and texts names") {
  const Config config = config_of(R"({"noises": ["full", "ful", "full", 3], "seeds": [1, 2, 1.0], "any": ["a", "a"]})");
  const auto noises = config.root().strings("noises", {.distinct = true, .names = {"full", "diagonal"}});
  CHECK(noises == std::vector<std::string>{"full", "full", "full", "full"});  // those that are wrong are replaced
  config.root().integers("seeds", {.distinct = true});
  config.root().strings("any");
  CHECK(problems_of(config) ==
        Problems{"$.noises[1]: expected one of \"full\", \"diagonal\", got text \"ful\"; did you mean \"full\"?",
                 "$.noises[3]: expected a text, got 3", "$.noises: has \"full\" twice", "$.seeds: has 1.0 twice"});
}

TEST_CASE("duplicate keys of a file are reported with its other problems, and the first value counts") {
  const test::TemporaryFolder folder;
  const std::string path = (folder / "c.json").string();
  write_file_atomically(path, R"({"a": 1, "a": 2, "b": {"c": 1, "c": "x", "d": 3}})");
  Problems problems;
  const Json document = parse_config_file(path, problems);
  CHECK(document == Json::parse(R"({"a": 1, "b": {"c": 1, "d": 3}})"));
  CHECK(problems == Problems{"$.a: duplicate key", "$.b.c: duplicate key"});
  const auto read = [&] {
    Config config(document, path);
    config.root().integer("a");
    config.root().object("b").integer("c");
    return config.finish();
  };
  CHECK(error_of([&] { with_earlier_problems(path, problems, read); }) ==
        path + ": 3 problems\n  $.a: duplicate key\n  $.b.c: duplicate key\n  $.b.d: unknown key; known: \"c\"");
  CHECK(error_of([&] { with_earlier_problems(path, problems, [] { return 3; }); }) ==
        path + ": 2 problems\n  $.a: duplicate key\n  $.b.c: duplicate key");
  CHECK(with_earlier_problems(path, {}, [] { return 3; }) == 3);

  std::string many = "{";
  for (int i = 0; i < 25; ++i) many += "\"k" + std::to_string(i) + "\": 0, \"k" + std::to_string(i) + "\": 0, ";
  write_file_atomically(path, many + "\"end\": 0}");
  CHECK(error_of([&] { parse_config_file(path, problems); }).starts_with(path + ": at least 20 duplicate keys"));
  write_file_atomically(path, "{");
  CHECK_THROWS_AS(parse_config_file(path, problems), ConfigError);
}
