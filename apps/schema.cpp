#include <noisysgd/apps/schema.h>

#include <noisysgd/apps/tuning.h>
#include <noisysgd/core/config_schema.h>

namespace noisysgd {

namespace {

// Networks for two kinds of images: what differs depends on the data and is no default.
void read_networks(const ConfigReader& model, const Extensions& extensions) {
  read_network(model, {extensions.layers, "", {32, 32, 3}, 10, {}});
  read_network(model, {extensions.layers, "", {64}, 7, 32});
}

const Json& properties_of(const Json& schema) { return schema.at("properties"); }

}  // namespace

Json experiment_schema(const Extensions& extensions, Tuned tuned) {
  const Json own = config_schema(read_experiment_keys);
  Json whole = config_schema([&](const ConfigReader& root) {
    read_regime_keys(root, extensions);
    read_networks(root.object("model"), extensions);
  });
  Json definitions = whole["definitions"];  // of layers
  whole.erase("definitions");
  const Json tuning = tuning_schemas();
  if (tuned == Tuned::yes) whole["properties"]["tune"] = tuning.at("tune");
  const Json part = patch_schema(whole);

  // Keys that another part of the schema describes.
  Json named = Json::object();
  for (const auto& [key, value] : properties_of(whole).items()) named[key] = true;
  Json entry = named;
  entry["name"] = {{"type", "string"}, {"minLength", 1}};
  Json entries = closed_object_schema(std::move(entry), {"name"});
  entries["allOf"] = Json::array({Json{{"$ref", "#/definitions/patch"}}});

  Json properties = properties_of(own);
  if (tuned == Tuned::yes) properties["tuning"] = tuning.at("tuning");
  properties["regimes"] = {
      {"type", "array"}, {"items", entries}, {"maxItems", most_regimes}, {"default", Json::array()}};
  properties.update(named);
  Json schema{{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", "Configuration of NoisySGD"}};
  schema.update(closed_object_schema(std::move(properties)));
  // Regimes complete the document, and so do the values that are tuned.
  const Json has_regimes{{"required", {"regimes"}}, {"properties", {{"regimes", {{"minItems", 1}}}}}};
  schema["if"] = {{"anyOf", Json::array({has_regimes, Json{{"required", {"tune"}}}})}};
  schema["then"] = {{"$ref", "#/definitions/base"}};
  schema["else"] = {{"$ref", "#/definitions/whole"}};
  definitions["patch"] = {{"properties", properties_of(part)}};
  definitions["base"] = {{"properties", properties_of(incomplete_schema(whole))}};
  definitions["whole"] = {{"properties", properties_of(whole)}};
  if (whole.contains("required")) definitions["whole"]["required"] = whole["required"];
  schema["definitions"] = std::move(definitions);
  return schema;
}

}  // namespace noisysgd
