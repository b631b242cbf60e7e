// Changes to a configuration before it is read: regimes (merge_config) and --set (apply_override).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include <noisysgd/core/config.h>
#include <noisysgd/core/config_path.h>
#include <noisysgd/core/json.h>
#include <noisysgd/core/suggest.h>
#include <noisysgd/core/utf8.h>

namespace noisysgd {
namespace {

// One step of a path: a key, or the text in brackets, which is a list entry [3] or [LB+Diag] or a quoted name.
struct Step {
  std::string key;
  bool bracketed = false, quoted = false;
};

// The list index of a step, from "3" or "[3]"; none if it is not an index.
std::optional<std::size_t> as_index(const Step& step) {
  if (step.quoted) return {};
  std::size_t index = 0;
  const char* end = step.key.data() + step.key.size();
  const auto [stop, error] = std::from_chars(step.key.data(), end, index);
  return error == std::errc() && stop == end ? std::optional(index) : std::nullopt;
}

// The list entry that a step selects, by its index or its "name". Throws ConfigError that begins with `place`.
std::size_t entry_of(const Json& list, const Step& step, const std::string& place) {
  std::vector<std::string> names;
  std::optional<std::size_t> named;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto name = list[i].is_object() ? list[i].find("name") : list[i].end();
    if (name == list[i].end() || !name->is_string()) continue;
    if (*name == step.key && !named) named = i;
    names.push_back(*name);
  }
  if (const auto index = as_index(step)) {
    if (named && named != index)
      throw ConfigError(fmt::format("{}: [{}] is the index of one entry and the name of another; [\"{}\"] is the name",
                                    place, step.key, step.key));
    if (*index < list.size()) return *index;
    throw ConfigError(fmt::format("{}: has {} entries; there is no [{}]", place, list.size(), *index));
  }
  if (named) return *named;
  throw ConfigError(names.empty()
                        ? fmt::format("{}: is a list; expected an index, got \"{}\"", place, step.key)
                        : fmt::format("{}: has no entry named \"{}\"{}", place, step.key, suggestion(step.key, names)));
}

// The position of the bracket that closes the first bracket of a path, or npos. A quoted name ends with its JSON text;
// any other name ends where the brackets are balanced.
std::size_t closing_bracket(std::string_view path) {
  if (path.substr(1).starts_with('"')) {
    std::size_t end = 2;
    while (end < path.size() && path[end] != '"') end += path[end] == '\\' ? 2 : 1;
    return path.substr(std::min(end, path.size())).starts_with("\"]") ? end + 1 : std::string_view::npos;
  }
  int open = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    open += path[i] == '[';
    open -= path[i] == ']';
    if (open == 0) return i;
  }
  return std::string_view::npos;
}

// The first '=' outside brackets, or npos. After a bracket that is never closed, the first '='.
std::size_t equals_sign(std::string_view assignment) {
  std::size_t at = 0;
  while (true) {
    at = assignment.find_first_of("[=", at);
    if (at == std::string_view::npos || assignment[at] == '=') return at;
    const std::size_t closing = closing_bracket(assignment.substr(at));
    if (closing == std::string_view::npos) return assignment.find('=', at);
    at += closing + 1;
  }
}

std::vector<Step> split_path(std::string_view path, std::string_view assignment) {
  const auto check = [&](bool good) {
    if (!good) throw ConfigError(fmt::format("override \"{}\": malformed path \"{}\"", assignment, path));
  };
  std::string_view rest = path;
  if (rest.starts_with("$.")) rest.remove_prefix(2);  // the form in error messages
  check(!rest.empty());
  std::vector<Step> steps;
  bool key_follows = true;
  while (key_follows || !rest.empty()) {
    if (key_follows) {
      const std::string_view key = rest.substr(0, rest.find_first_of(".["));
      check(!key.empty());
      steps.push_back({std::string(key)});
      rest.remove_prefix(key.size());
      key_follows = false;
    } else if (rest.front() == '.') {
      rest.remove_prefix(1);
      key_follows = true;
    } else {
      check(rest.front() == '[');
      const std::size_t end = closing_bracket(rest);
      check(end != std::string_view::npos && end > 1);
      const std::string_view inside = rest.substr(1, end - 1);
      if (inside.front() == '"') {
        const Json name = Json::parse(inside, nullptr, false);
        check(name.is_string());
        steps.push_back({name.get<std::string>(), true, true});
      } else {
        steps.push_back({std::string(inside), true});
      }
      rest.remove_prefix(end + 1);
    }
  }
  return steps;
}

Json parse_value(std::string_view text, std::string_view assignment) {
  try {
    return parse_json(text, "value");
  } catch (const Error& error) {
    // A bare word is a text; a malformed list, object or quoted text is an error.
    const bool bare = text.empty() || std::string_view("{[\"").find(text.front()) == std::string_view::npos;
    if (bare) return std::string(text);
    throw ConfigError(fmt::format("override \"{}\": {}", assignment, error.what()));
  }
}

void find_differences(const Json* there, const Json* here, const std::string& path, std::vector<std::string>& found) {
  if (there && here && there->is_object() && here->is_object()) {
    const auto member = [](const Json& object, const std::string& key) {
      return object.contains(key) ? &object.at(key) : nullptr;
    };
    for (const auto& [key, value] : there->items())
      find_differences(&value, member(*here, key), json_member_path(path, key), found);
    for (const auto& [key, value] : here->items())
      if (!there->contains(key)) find_differences(nullptr, &value, json_member_path(path, key), found);
  } else if (there && here && there->is_array() && here->is_array() && there->size() == here->size()) {
    for (std::size_t i = 0; i < there->size(); ++i)
      find_differences(&(*there)[i], &(*here)[i], json_element_path(path, i), found);
  } else if (!there || !here || *there != *here) {
    const auto text = [](const Json* value) { return value ? value->dump() : "absent"; };
    found.push_back(fmt::format("{}: {} there, {} here", path, text(there), text(here)));
  }
}

}  // namespace

std::vector<std::string> config_differences(const Json& there, const Json& here) {
  std::vector<std::string> found;
  find_differences(&there, &here, "$", found);
  return found;
}

Json merge_config(const Json& base, const Json& patch) {
  if (!patch.is_object()) return patch;
  Json result = base.is_object() ? base : Json::object();
  if (result.contains("type") && patch.contains("type") && result["type"] != patch["type"]) result = Json::object();
  for (const auto& [key, value] : patch.items()) {
    if (value.is_null()) {
      result.erase(key);
    } else {
      result[key] = merge_config(result.contains(key) ? result[key] : Json(), value);
    }
  }
  return result;
}

Assignment split_assignment(std::string_view assignment) {
  // Neither the document nor a message can contain other bytes.
  if (!is_utf8(assignment)) throw ConfigError("override: the assignment is not UTF-8");
  const std::size_t equals = equals_sign(assignment);
  if (equals == std::string_view::npos)
    throw ConfigError(fmt::format("override \"{}\": expected PATH=VALUE", assignment));
  return {assignment.substr(0, equals), assignment.substr(equals + 1)};
}

const Json* find_value(const Json& document, std::string_view path) {
  try {
    const Json* place = &document;
    for (const Step& step : split_path(path, path)) {
      if (place->is_array())
        place = &(*place)[entry_of(*place, step, "")];
      else if (place->is_object() && place->contains(step.key) && (!step.bracketed || step.quoted))
        place = &place->at(step.key);
      else
        return nullptr;
    }
    return place;
  } catch (const ConfigError&) {
    return nullptr;
  }
}

std::string bracketed_name(const std::string& name) {
  const bool plain = !name.empty() && name.front() != '"' && !as_index({name, true}) &&
                     closing_bracket("[" + name + "]") == name.size() + 1;
  return plain ? name : Json(name).dump(-1, ' ', false, Json::error_handler_t::replace);
}

void apply_override(Json& document, std::string_view assignment) {
  const auto [target, text] = split_assignment(assignment);
  const std::vector<Step> steps = split_path(target, assignment);
  Json value = parse_value(text, assignment);

  Json* place = &document;
  Json created;  // the missing part of the path, built separately: a failure must not change the document
  Json* attach_to = nullptr;
  std::string attach_key;
  std::string path = "$";
  for (const Step& step : steps) {
    const auto fail = [&](std::string_view problem) {
      throw ConfigError(fmt::format("override \"{}\": {}: {}", assignment, path, problem));
    };
    if (place->is_array()) {
      const std::size_t index = entry_of(*place, step, fmt::format("override \"{}\": {}", assignment, path));
      path = json_element_path(path, index);
      place = &(*place)[index];
    } else {
      if (!place->is_object()) fail(fmt::format("is neither an object nor a list but {}", place->dump()));
      if (step.bracketed && !step.quoted) fail(fmt::format("is an object, not a list; there is no [{}]", step.key));
      path = json_member_path(path, step.key);
      if (place->contains(step.key)) {
        place = &(*place)[step.key];
      } else {
        if (attach_to == nullptr) {
          attach_to = place;
          attach_key = step.key;
          created = Json::object();
          place = &created;
        } else {
          place = &((*place)[step.key] = Json::object());
        }
      }
    }
  }
  *place = std::move(value);
  if (attach_to != nullptr) (*attach_to)[attach_key] = std::move(created);
}

}  // namespace noisysgd
