#include <noisysgd/core/config_schema.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include <noisysgd/core/config_node.h>

namespace noisysgd {
namespace {

using namespace config_detail;

constexpr double largest = std::numeric_limits<float>::max();

// The schemas of the rules, one overload for each.
Json schema_of(const NumberRule& rule) {
  Json schema{{"type", "number"}};
  if (rule.above >= rule.at_least && rule.above >= -largest)
    schema["exclusiveMinimum"] = rule.above;
  else
    schema["minimum"] = std::max(rule.at_least, -largest);
  if (rule.below <= rule.at_most && rule.below <= largest)
    schema["exclusiveMaximum"] = rule.below;
  else
    schema["maximum"] = std::min(rule.at_most, largest);
  if (rule.default_value) schema["default"] = *rule.default_value;
  return schema;
}

Json schema_of(const IntegerRule& rule) {
  Json schema{{"type", "integer"}, {"minimum", rule.at_least}, {"maximum", rule.at_most}};
  if (rule.default_value) schema["default"] = *rule.default_value;
  return schema;
}

template <class Value>
Json with_default(Json schema, const std::optional<Value>& default_value) {
  if (default_value) schema["default"] = *default_value;
  return schema;
}

Json schema_of(const BooleanRule& rule) { return with_default({{"type", "boolean"}}, rule.default_value); }
Json schema_of(const TextRule& rule) { return with_default({{"type", "string"}}, rule.default_value); }

// The values that name a choice: the text, and true for "true" (ConfigReader::choice).
Json values_of(const std::string& name) {
  Json values = Json::array({name});
  const Json bare = Json::parse(name, nullptr, false);
  if ((bare.is_boolean() || bare.is_number()) && bare.dump() == name) values.push_back(bare);
  return values;
}

Json schema_of(const ChoiceRule& rule) {
  Json values = Json::array();
  for (const std::string& name : rule.names)
    for (const Json& value : values_of(name)) values.push_back(value);
  Json schema{{"enum", values}};
  if (rule.default_index) schema["default"] = rule.names[*rule.default_index];
  return schema;
}

Json list_of(const Json& each, const LengthRule& length) {
  return {{"type", "array"}, {"items", each}, {"minItems", length.at_least}, {"maxItems", length.at_most}};
}

Json schema_of(const NumberListRule& rule) {
  return with_default(list_of(schema_of(rule.each), rule.length), rule.default_value);
}
Json distinct_if(bool distinct, Json list) {
  if (distinct) list["uniqueItems"] = true;
  return list;
}
Json schema_of(const IntegerListRule& rule) {
  IntegerRule each = rule.each;
  each.default_value.reset();
  return with_default(distinct_if(rule.distinct, list_of(schema_of(each), rule.length)), rule.default_value);
}
Json schema_of(const StringListRule& rule) {
  const Json each = rule.names.empty() ? Json{{"type", "string"}} : Json{{"enum", rule.names}};
  return with_default(distinct_if(rule.distinct, list_of(each, rule.length)), rule.default_value);
}
Json schema_of(const IntegerPairRule& rule) {
  IntegerRule each = rule.each;
  each.default_value.reset();
  const Json one = schema_of(each), schema{{"anyOf", Json::array({one, list_of(one, {2, 2})})}};
  return with_default(schema, rule.each.default_value);
}
Json schema_of(const ObjectRule&) { return {{"type", "object"}}; }
Json schema_of(const ObjectListRule& rule) {
  Json schema = list_of({{"type", "object"}}, rule.length);
  if (rule.length.at_least == 0) schema["default"] = Json::array();
  return schema;
}
Json schema_of(const AnyRule& rule) { return {{"default", rule.default_value}}; }

Json or_null(Json schema) {
  if (schema.contains("enum")) {
    schema["enum"].push_back(nullptr);
  } else if (schema.contains("type") && schema["type"].is_string()) {
    if (schema["type"] != "null") schema["type"] = Json::array({schema["type"], "null"});
  } else if (schema.contains("anyOf")) {
    schema["anyOf"].push_back({{"type", "null"}});
  } else if (!schema.empty() && !schema.contains("type")) {
    schema = Json{{"anyOf", Json::array({schema, Json{{"type", "null"}}})}};
  }
  return schema;
}

// What two schemas of one value agree on.
Json agreement(const Json& a, const Json& b) {
  Json both = Json::object();
  for (const auto& [keyword, value] : a.items())
    if (b.contains(keyword) && b.at(keyword) == value) both[keyword] = value;
  return both;
}

enum class Form { value, object, list };

// A key of an object as it was asked for in one document.
struct Property {
  std::string key;
  Json schema;  // of an object or a list of objects: without its keys
  bool required = false;
  Form form = Form::value;
  std::vector<Json> others = {};  // values to try, other than its default or what a reader takes if it is absent
  bool chooses = false;           // `others` are all values of a choice
  bool always = true;             // false: other values of the object decide whether it is asked for
  Json document = {};             // in which it was asked for
};

template <class Rule>
std::vector<Json> values_beside(const Rule& rule) {
  if constexpr (std::is_same_v<Rule, ChoiceRule>) return std::vector<Json>(rule.names.begin(), rule.names.end());
  if constexpr (std::is_same_v<Rule, BooleanRule>) return {false, true};
  if constexpr (std::is_same_v<Rule, IntegerRule>) {
    const std::int64_t fallback = std::max(rule.at_least, std::min<std::int64_t>(1, rule.at_most));
    const std::int64_t value = rule.default_value.value_or(fallback);
    return {value < rule.at_most ? value + 1 : value - 1};
  }
  if constexpr (std::is_same_v<Rule, NumberRule>) {
    for (const double value : {2.0, 0.5, 0.25, -1.0, 1e3, 1e-3})
      if (value >= rule.at_least && value > rule.above && value <= rule.at_most && value < rule.below &&
          value != rule.default_value)
        return {value};
  }
  return {};
}

template <class Rule>
bool has_default(const Rule& rule) {
  if constexpr (requires { rule.default_value.has_value(); }) return rule.default_value.has_value();
  if constexpr (std::is_same_v<Rule, ChoiceRule>) return rule.default_index.has_value();
  if constexpr (std::is_same_v<Rule, IntegerPairRule>) return rule.each.default_value.has_value();
  if constexpr (std::is_same_v<Rule, ObjectListRule>) return rule.length.at_least == 0;
  return std::is_same_v<Rule, ObjectRule> || std::is_same_v<Rule, AnyRule>;  // of an object, its keys decide
}

Property property_of(const Member& member) {
  Property property{member.key, {}};
  bool first = true;
  for (const AskedRule& asked : member.asked) {
    std::visit(
        [&]<class Rule>(const Rule& rule) {
          Json schema = schema_of(rule);
          if (asked.optional) schema = or_null(std::move(schema));
          if (first) {
            property.schema = schema;
            property.required = !asked.optional && !has_default(rule);
            property.others = values_beside(rule);
            property.chooses = std::is_same_v<Rule, ChoiceRule> || std::is_same_v<Rule, BooleanRule>;
          } else if (std::is_same_v<Rule, ObjectRule> && !property.schema.contains("type")) {
            property.schema.update(schema);  // after any()
          } else if (!std::is_same_v<Rule, AnyRule>) {
            property.schema = agreement(property.schema, schema);
            property.required = property.required && !asked.optional && !has_default(rule);
          }
          if (std::is_same_v<Rule, ObjectRule>) property.form = Form::object;
          if (std::is_same_v<Rule, ObjectListRule>) property.form = Form::list;
        },
        asked.rule);
    first = false;
  }
  return property;
}

using Properties = std::vector<Property>;

const Property* find(const Properties& properties, const std::string& key) {
  const auto found =
      std::find_if(properties.begin(), properties.end(), [&](const Property& p) { return p.key == key; });
  return found == properties.end() ? nullptr : &*found;
}

bool same_keys(const Properties& a, const Properties& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Property& x, const Property& y) {
    return x.key == y.key && x.schema == y.schema && x.required == y.required;
  });
}

// What either allows.
void widen(Properties& properties, const Properties& others) {
  for (Property& property : properties) {
    const Property* const other = find(others, property.key);
    property.required = property.required && other && other->required;
    property.always = property.always && other && other->always;
    if (other) property.schema = agreement(property.schema, other->schema);
  }
  for (const Property& other : others) {
    if (find(properties, other.key)) continue;
    properties.push_back(other);
    properties.back().required = properties.back().always = false;
  }
}

using Pointer = Json::json_pointer;

// The schema of a value that chooses: `if` it is `name`, which is also the case if it is absent and name the default.
Json chosen(const Property& choice, const Json& name) {
  const Json values = name.is_string() ? values_of(name) : Json::array({name});
  Json condition{{"properties", {{choice.key, values.size() == 1 ? Json{{"const", name}} : Json{{"enum", values}}}}}};
  if (choice.schema.value("default", Json()) != name) condition["required"] = {choice.key};
  return condition;
}

// True if an absent object, which counts as an empty one, lacks a key.
bool needs_keys(const Json& object) {
  if (object.contains("required")) return true;
  for (const Json& alternative : object.value("allOf", Json::array()))
    if (!alternative["if"].contains("required")) return needs_keys(alternative["then"]);
  return false;
}

class Explorer {
 public:
  explicit Explorer(const std::function<void(const ConfigReader&)>& read) : read_(read) {}

  Json object_at(const Pointer& place, Json document, std::set<std::string> decided = {}) {
    Properties properties = ask(place, document);
    for (const Property& property : properties)
      if (property.chooses && !decided.contains(property.key) && decides(place, document, property, properties))
        return alternatives(place, document, property, std::move(decided));
    for (const Property& property : Properties(properties))
      if (!property.chooses && !property.others.empty())
        widen(properties, ask_with(place, document, property.key, property.others[0]));
    for (const std::string& key : std::vector<std::string>(looked_for_))
      widen(properties, ask_with(place, document, key, nullptr));

    Json schemas = Json::object();
    std::vector<std::string> required;
    for (Property& property : properties) {
      const Pointer inside = place / property.key;
      if (property.form == Form::object) {
        Json object = object_at(inside, property.document);
        const bool optional = property.schema.contains("default") || property.schema["type"] != "object";
        property.required = property.always && !optional && needs_keys(object);
        for (const auto& [keyword, value] : object.items())
          if (keyword != "type") property.schema[keyword] = value;
      } else if (property.form == Form::list) {
        property.schema["items"] = entry_at(inside / 0, property.document);
      }
      schemas[property.key] = property.schema;
      if (property.required) required.push_back(property.key);
    }
    return closed_object_schema(std::move(schemas), required);
  }

  const Json& definitions() const { return definitions_; }

 private:
  struct Definition {
    std::string kind, name;
    Properties properties;
  };

  // What is asked for at a place of this document. Lists of objects get an entry there, and optional objects are given.
  Properties ask(const Pointer& place, Json& document) {
    for (bool complete = false;;) {
      const Config config(document);
      try {
        read_(config.root());
      } catch (const Error&) {  // it has asked for what it could
      }
      const Node* const node = find_node(config.asked(), place);
      Properties properties;
      looked_for_.clear();
      if (!node) return properties;
      for (const Member& member : node->members) {
        properties.push_back(property_of(member));
        properties.back().document = document;
      }
      kind_ = node->kind;
      for (const std::string& key : node->looked_for)
        if (!document.contains(place / key)) looked_for_.push_back(key);
      if (complete) return properties;
      complete = true;
      for (const Property& property : properties) {
        const Pointer inside = place / property.key;
        if (property.form == Form::value || document.contains(inside)) continue;
        document[inside] = property.form == Form::list ? Json::array({Json::object()}) : Json::object();
        complete = false;
      }
      if (complete) return properties;
    }
  }

  Properties ask_with(const Pointer& place, Json document, const std::string& key, const Json& value) {
    const std::vector<std::string> looked_for = looked_for_;
    const std::string kind = kind_;
    document[place / key] = value;
    Properties properties = ask(place, document);
    looked_for_ = looked_for;
    kind_ = kind;
    return properties;
  }

  bool decides(const Pointer& place, const Json& document, const Property& choice, const Properties& properties) {
    return std::any_of(choice.others.begin(), choice.others.end(), [&](const Json& value) {
      return !same_keys(ask_with(place, document, choice.key, value), properties);
    });
  }

  Json alternatives(const Pointer& place, const Json& document, const Property& choice, std::set<std::string> decided) {
    decided.insert(choice.key);
    Json schema{{"type", "object"}, {"properties", {{choice.key, choice.schema}}}};
    if (choice.required) schema["required"] = {choice.key};
    schema["allOf"] = Json::array();
    for (const Json& value : choice.others) {
      Json given = document;
      given[place / choice.key] = value;
      Json object = object_at(place, std::move(given), decided);
      object.erase("type");
      schema["allOf"].push_back({{"if", chosen(choice, value)}, {"then", std::move(object)}});
    }
    return schema;
  }

  // An entry of a list. If there are entries of its kind inside itself, or elsewhere, they share a definition.
  Json entry_at(const Pointer& place, Json document) {
    const Properties properties = ask(place, document);
    if (kind_.empty()) return object_at(place, std::move(document));
    for (const Definition& known : known_)
      if (known.kind == kind_ && same_keys(known.properties, properties))
        return {{"$ref", "#/definitions/" + known.name}};
    std::string name = kind_.substr(kind_.find(' ') + 1);  // "a layer"
    std::replace(name.begin(), name.end(), ' ', '_');
    if (definitions_.contains(name)) name += fmt::format("_{}", definitions_.size() + 1);
    known_.push_back({kind_, name, properties});
    definitions_[name] = nullptr;
    definitions_[name] = object_at(place, std::move(document));
    return {{"$ref", "#/definitions/" + name}};
  }

  static const Node* find_node(const Node& root, const Pointer& place) {
    if (place.empty()) return &root;
    const Pointer above = place.parent_pointer();
    const bool is_entry = !above.empty() && place.back().find_first_not_of("0123456789") == std::string::npos;
    const Node* const node = find_node(root, is_entry ? above.parent_pointer() : above);
    const Member* const member = node ? node->find(is_entry ? above.back() : place.back()) : nullptr;
    return !member || member->children.empty() || member->is_list != is_entry ? nullptr : member->children[0].get();
  }

  const std::function<void(const ConfigReader&)>& read_;
  std::vector<Definition> known_;
  Json definitions_ = Json::object();
  std::string kind_;                     // of the object that was asked last
  std::vector<std::string> looked_for_;  // by its readers: keys that the document does not have
};

// The properties of all alternatives.
void collect(const Json& schema, Json& properties) {
  const Json own = schema.value("properties", Json::object());
  for (const auto& [key, value] : own.items()) {
    if (!properties.contains(key)) {
      properties[key] = Json{{"anyOf", Json::array({value})}};
    } else if (Json& known = properties[key]["anyOf"]; std::find(known.begin(), known.end(), value) == known.end()) {
      known.push_back(value);
    }
  }
  for (const Json& alternative : schema.value("allOf", Json::array())) collect(alternative["then"], properties);
}

}  // namespace

Json closed_object_schema(Json properties, const std::vector<std::string>& required) {
  Json schema{{"type", "object"},
              {"properties", std::move(properties)},
              {"patternProperties", {{"^(comment|\\$comment.*)$", {{"type", "string"}}}}},
              {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = required;
  return schema;
}

Json config_schema(const std::function<void(const ConfigReader& root)>& read) {
  Explorer explorer(read);
  Json schema = explorer.object_at(Pointer(), Json::object());
  if (!explorer.definitions().empty()) schema["definitions"] = explorer.definitions();
  return schema;
}

namespace {

// removes: null removes a key.
Json partial(const Json& schema, bool removes) {
  const auto removable = [&](Json value) { return removes ? or_null(std::move(value)) : value; };
  Json part = schema;
  if (!part.contains("properties") && !part.contains("allOf")) return part;  // a list is replaced whole
  part.erase("required");
  for (auto& [key, value] : part["properties"].items()) value = removable(partial(value, removes));
  if (part.contains("additionalProperties") && part["additionalProperties"].is_object())
    part["additionalProperties"] = removable(part["additionalProperties"]);
  if (!part.contains("allOf")) return part;
  const std::string choice = schema["properties"].begin().key();
  for (Json& alternative : part["allOf"]) {
    alternative["if"]["required"] = {choice};
    alternative["then"] = partial(alternative["then"], removes);
  }
  Json all = Json::object();
  collect(part, all);
  for (auto& [key, value] : all.items())
    if (value["anyOf"].size() == 1) value = Json(value["anyOf"][0]);
  all[choice] = true;
  const Json given{{"properties", {{choice, {{"not", {{"const", nullptr}}}}}}}, {"required", {choice}}};
  part["allOf"].push_back({{"if", {{"not", given}}}, {"then", closed_object_schema(std::move(all))}});
  return part;
}

}  // namespace

Json incomplete_schema(const Json& schema) { return partial(schema, false); }

Json patch_schema(const Json& schema) { return partial(schema, true); }

}  // namespace noisysgd
