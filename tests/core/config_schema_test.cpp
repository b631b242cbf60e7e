// A schema has what a reader asks for. tests/interop/check_schema.py compares schemas with what the programs accept.
#include <noisysgd/core/config_schema.h>

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <noisysgd/core/json.h>
#include <noisysgd/core/registry.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

using Read = std::function<void(const ConfigReader&)>;

// A property of what this reads, without the keys that all integers or numbers have.
Json property(const Read& read, const std::string& key) {
  Json schema = config_schema(read).at("properties").at(key);
  for (const auto& [keyword, ordinary] : std::map<std::string, Json>{
           {"minimum", -2147483647}, {"maximum", 2147483647}, {"minItems", 0}, {"maxItems", 10'000}})
    if (schema.contains(keyword) && schema[keyword] == ordinary) schema.erase(keyword);
  return schema;
}

Json required(const Read& read) { return config_schema(read).value("required", Json::array()); }

// The keys of the alternative that holds if `key` is `value`.
std::vector<std::string> keys_if(const Json& schema, const std::string& key, const Json& value) {
  std::vector<std::string> keys;
  for (const Json& alternative : schema.at("allOf"))
    if (alternative["if"].value("properties", Json::object()).value(key, Json::object()).value("const", Json()) ==
        value)
      for (const auto& [name, property] : alternative["then"]["properties"].items()) keys.push_back(name);
  return keys;
}

using Keys = std::vector<std::string>;

void read_shape(const ConfigReader& json) {
  Registry<int> shapes("a shape");
  for (const char* type : {"circle", "group", "square"}) shapes.add(type, 0);
  const std::string type = shapes.read_type(json);
  if (type == "circle") json.number("radius", {.above = 0});
  if (type == "square") json.integer("side", {.default_value = 2});
  if (type == "group")
    for (const ConfigReader& member : json.objects("members")) {
      member.string("name", "");
      read_shape(member);
    }
}

}  // namespace

TEST_CASE("a schema has the type, the bounds and the default of every getter") {
  const auto of = [](auto get) { return property([&](const ConfigReader& json) { get(json); }, "k"); };
  CHECK(of([](auto& json) { json.number("k", {.default_value = 0.5, .above = 0, .at_most = 1}); }) ==
        Json{{"type", "number"}, {"exclusiveMinimum", 0.0}, {"maximum", 1.0}, {"default", 0.5}});
  CHECK(of([](auto& json) { json.number("k", {.at_least = 0, .below = 1}); }) ==
        Json{{"type", "number"}, {"minimum", 0.0}, {"exclusiveMaximum", 1.0}});
  const double largest = std::numeric_limits<float>::max();
  CHECK(of([](auto& json) { json.number("k"); }) ==
        Json{{"type", "number"}, {"minimum", -largest}, {"maximum", largest}});
  CHECK(of([](auto& json) { json.integer("k", {.default_value = 3, .at_least = 1}); }) ==
        Json{{"type", "integer"}, {"minimum", 1}, {"default", 3}});
  CHECK(of([](auto& json) { json.boolean("k", true); }) == Json{{"type", "boolean"}, {"default", true}});
  CHECK(of([](auto& json) { json.string("k", "a"); }) == Json{{"type", "string"}, {"default", "a"}});
  CHECK(of([](auto& json) {
          json.choice("k", {"a", "true"}, "a");
        }) == Json{{"enum", {"a", "true", true}}, {"default", "a"}});
  CHECK(of([](auto& json) { json.optional_number("k", {.at_least = 0, .at_most = 9}); }) ==
        Json{{"type", {"number", "null"}}, {"minimum", 0.0}, {"maximum", 9.0}});
  CHECK(of([](auto& json) { json.optional_string("k"); }) == Json{{"type", {"string", "null"}}});
  CHECK(of([](auto& json) {
          json.numbers("k", {.default_value = std::vector<double>{1, 2}, .each = {.at_least = 0, .at_most = 5}});
        }) == Json{{"type", "array"},
                   {"items", {{"type", "number"}, {"minimum", 0.0}, {"maximum", 5.0}}},
                   {"default", {1.0, 2.0}}});
  CHECK(of([](auto& json) {
          json.strings("k", {.length = {1, 4}});
        }) == Json{{"type", "array"}, {"items", {{"type", "string"}}}, {"minItems", 1}, {"maxItems", 4}});
  const Json one{{"type", "integer"}, {"minimum", 1}, {"maximum", 2147483647}};
  const Json two{{"type", "array"}, {"items", one}, {"minItems", 2}, {"maxItems", 2}};
  CHECK(of([](auto& json) { json.integer_pair("k", {.default_value = 3, .at_least = 1}); }) ==
        Json{{"anyOf", {one, two}}, {"default", 3}});
  CHECK(of([](auto& json) { json.any("k", Json::array()); }) == Json{{"default", Json::array()}});
}

TEST_CASE("a key without a default is required, and so is an object with such a key") {
  CHECK(required([](const ConfigReader& json) { json.integer("k"); }) == Json{"k"});
  CHECK(required([](const ConfigReader& json) { json.objects("k", {.at_least = 1}); }) == Json{"k"});
  CHECK(required([](const ConfigReader& json) { json.object("k").number("n"); }) == Json{"k"});
  CHECK(required([](const ConfigReader& json) { read_shape(json.object("k")); }) == Json{"k"});
  CHECK(required([](const ConfigReader& json) {
          json.integer("a", {.default_value = 1});
          json.optional_integer("b");
          json.object("c").boolean("d", true);
          json.objects("e");
          if (const auto f = json.optional_object("f")) f->integer("n");
          json.any("g", nullptr);
        }) == Json::array());
}

TEST_CASE("a choice that decides about other keys gives an alternative for each value, and no other choice does") {
  const Read read = [](const ConfigReader& json) {
    json.choice("colour", {"red", "blue"}, "red");
    const std::string type = json.choice("type", {"sgd", "adam"}, "sgd");
    json.number("rate", {.default_value = type == "sgd" ? 0.1 : 0.001});
    if (type == "adam" && json.boolean("decays", false)) json.number("decay");
  };
  const Json schema = config_schema(read);
  CHECK(schema["properties"].size() == 1);
  CHECK(keys_if(schema, "type", "sgd") == Keys{"colour", "type", "rate"});
  CHECK_FALSE(schema["allOf"][0]["if"].contains("required"));  // the default
  CHECK(schema["allOf"][1]["if"]["required"] == Json{"type"});
  const Json& adam = schema["allOf"][1]["then"];
  CHECK(keys_if(adam, "decays", false) == Keys{"colour", "type", "rate", "decays"});
  CHECK(keys_if(adam, "decays", true) == Keys{"colour", "type", "rate", "decays", "decay"});
  CHECK(adam["allOf"][0]["then"]["properties"]["rate"]["default"] == 0.001);
  CHECK(adam["allOf"][1]["then"]["required"] == Json{"decay"});
}

TEST_CASE("what depends on another value is no bound and no default") {
  const auto of = [](auto get) { return property([&](const ConfigReader& json) { get(json); }, "k"); };
  CHECK(of([](auto& json) { json.integer("k", {.default_value = json.integer("n", {.default_value = 2})}); }) ==
        Json{{"type", "integer"}});
  CHECK(of([](auto& json) { json.integer("k", {.at_least = json.integer("n", {.at_least = 2})}); }) ==
        Json{{"type", "integer"}});
  CHECK(of([](auto& json) {  // read twice, as for two kinds of data
          json.integer("k", {.default_value = 10});
          json.integer("k", {.default_value = 7});
        }) == Json{{"type", "integer"}});
}

TEST_CASE("a key whose presence is looked at is in the schema") {
  const Read read = [](const ConfigReader& json) {
    if (json.has("seeds")) return void(json.integers("seeds", {.each = {.at_least = 0}}));
    json.integer("seed", {.default_value = 1});
  };
  const Json properties = config_schema(read).at("properties");
  CHECK(properties.at("seed").at("default") == 1);
  CHECK(properties.at("seeds").at("items").at("minimum") == 0);
  CHECK(required(read) == Json::array());
}

TEST_CASE("a key of an object that is looked for is required in it, and the object is not") {
  const Read read = [](const ConfigReader& json) {
    if (json.has("spectrum")) return void(json.object("spectrum").number("largest"));
    json.numbers("matrix");
  };
  const Json schema = config_schema(read);
  CHECK(schema.at("properties").at("spectrum").at("required") == Json{"largest"});
  CHECK_FALSE(schema.contains("required"));
}

TEST_CASE("objects that contain themselves share a definition") {
  const Json schema = config_schema([](const ConfigReader& root) { read_shape(root.object("shape")); });
  REQUIRE(schema.at("definitions").size() == 1);
  const Json& shape = schema.at("definitions").at("shape");
  CHECK(keys_if(shape, "type", "circle") == Keys{"name", "type", "radius"});
  CHECK(shape["allOf"][1]["then"]["properties"]["members"]["items"] == Json{{"$ref", "#/definitions/shape"}});
  const Json& top = schema["properties"]["shape"];
  CHECK(keys_if(top, "type", "circle") == Keys{"type", "radius"});
  CHECK(top["allOf"][1]["then"]["properties"]["members"]["items"] == Json{{"$ref", "#/definitions/shape"}});
}

TEST_CASE("objects of one kind that have other keys have definitions of their own") {
  const Json schema = config_schema([](const ConfigReader& root) {
    for (const ConfigReader& entry : root.objects("shapes")) read_shape(entry);
    for (const ConfigReader& entry : root.objects("rated")) {
      entry.number("rating");
      read_shape(entry);
    }
  });
  CHECK(keys_if(schema.at("definitions").at("shape"), "type", "circle") == Keys{"type", "radius"});
  CHECK(schema["properties"]["rated"]["items"] == Json{{"$ref", "#/definitions/shape_3"}});
  CHECK(keys_if(schema.at("definitions").at("shape_3"), "type", "circle") == Keys{"rating", "type", "radius"});
}

TEST_CASE("a reader that stops has asked for what it could") {
  CHECK(property(
            [](const ConfigReader& json) {
              json.integer("k");
              throw Error("the images are too small");
            },
            "k") == Json{{"type", "integer"}});
}

TEST_CASE("a patch needs no key, removes by null, and fits any type that it does not name") {
  const Json whole = config_schema([](const ConfigReader& root) {
    root.integer("k", {.at_least = 1});
    read_shape(root.object("shape"));
    root.choice("colour", {"red", "blue"});
  });
  const Json patch = patch_schema(whole);
  CHECK_FALSE(patch.contains("required"));
  CHECK(patch["properties"]["k"]["type"] == Json{"integer", "null"});
  CHECK(patch["properties"]["colour"]["enum"] == Json{"red", "blue", nullptr});
  const Json& shape = patch["properties"]["shape"];
  CHECK(shape["type"] == Json{"object", "null"});
  CHECK_FALSE(shape.contains("required"));
  CHECK(keys_if(shape, "type", "circle") == Keys{"type", "radius"});
  const Json& unnamed = shape["allOf"].back();
  CHECK(unnamed["if"]["not"]["required"] == Json{"type"});
  CHECK(unnamed["then"]["properties"].size() == 4);  // type, radius, members, side
  CHECK(unnamed["then"]["additionalProperties"] == false);
  CHECK(unnamed["then"]["properties"]["radius"]["type"] == Json{"number", "null"});

  const Json base = incomplete_schema(whole);
  CHECK_FALSE(base.contains("required"));
  CHECK(base["properties"]["k"]["type"] == "integer");
  CHECK(base["properties"]["colour"]["enum"] == Json{"red", "blue"});
  CHECK(base["properties"]["shape"]["type"] == "object");
  CHECK_FALSE(base["properties"]["shape"].contains("required"));
  CHECK(base["properties"]["shape"]["allOf"].back()["then"]["properties"]["radius"]["type"] == "number");
}

TEST_CASE("lists of distinct entries and of names say so") {
  CHECK(property([](const ConfigReader& json) { json.integers("k", {.distinct = true}); }, "k")["uniqueItems"] == true);
  CHECK_FALSE(property([](const ConfigReader& json) { json.integers("k"); }, "k").contains("uniqueItems"));
  const Json names = property(
      [](const ConfigReader& json) {
        json.strings("k", {.distinct = true, .names = {"a", "b"}});
      },
      "k");
  CHECK(names["items"] == Json{{"enum", {"a", "b"}}});
  CHECK(names["uniqueItems"] == true);
}
