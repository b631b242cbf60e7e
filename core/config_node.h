// What Config (core/config.h) keeps of a document while it is read: for every object the keys that the readers asked
// for, with the rules of their values. core/config_schema.cpp makes a JSON Schema of it.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/json.h>

namespace noisysgd::config_detail {

// The rules of config.h, and one for each of the other getters.
struct BooleanRule {
  std::optional<bool> default_value = {};
};
struct TextRule {
  std::optional<std::string> default_value = {};
};
struct ChoiceRule {
  std::vector<std::string> names;
  std::optional<std::size_t> default_index = {};
};
struct IntegerPairRule {
  IntegerRule each;
};
struct ObjectRule {};
struct ObjectListRule {
  LengthRule length;
};
struct AnyRule {
  Json default_value;
};

struct AskedRule {
  std::variant<NumberRule, IntegerRule, BooleanRule, TextRule, ChoiceRule, NumberListRule, IntegerListRule,
               StringListRule, IntegerPairRule, ObjectRule, ObjectListRule, AnyRule>
      rule;
  bool optional = false;  // null is allowed, and the key may be absent without a default
};

struct Node;

// What was read under one key: a value, or the nodes of an object or of a list of objects.
struct Member {
  std::string key;
  Json value = {};
  std::vector<std::unique_ptr<Node>> children = {};
  bool is_list = false;
  std::vector<AskedRule> asked = {};  // one for each call of a getter
};

struct Node {
  std::string path;
  const Json* input;    // the object in the document; null when it is absent
  bool faulty = false;  // the value is not an object: its required keys are not reported as missing
  bool open = false;    // its valid keys are not known (a wrong "type"): unread keys are not reported
  std::vector<Member> members = {};
  std::string kind = {};                     // see ConfigReader::is_a
  std::vector<std::string> looked_for = {};  // the keys whose presence the readers looked at

  const Member* find(std::string_view key) const {
    const auto found =
        std::find_if(members.begin(), members.end(), [&](const Member& member) { return member.key == key; });
    return found == members.end() ? nullptr : &*found;
  }
  Member* find(std::string_view key) { return const_cast<Member*>(std::as_const(*this).find(key)); }
};

}  // namespace noisysgd::config_detail
