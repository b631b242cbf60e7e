#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <type_traits>

#include <noisysgd/core/config_node.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/known_keys.h>
#include <noisysgd/core/suggest.h>
#include <noisysgd/core/utf8.h>

namespace noisysgd {
namespace config_detail {

constexpr std::size_t most_problems = 100;  // in one message

struct State {
  std::string origin;
  Json document;
  std::vector<std::string> problems;
  Node root;

  void report(const std::string& path, std::string_view message) {
    if (problems.size() > most_problems) return;
    if (problems.size() == most_problems) return problems.push_back("and more");
    std::string problem = fmt::format("{}: {}", path, message);
    if (std::find(problems.begin(), problems.end(), problem) == problems.end()) problems.push_back(std::move(problem));
  }
};

}  // namespace config_detail

namespace {

using namespace config_detail;

// A value of the document in short form: `text "abc"`, `1.5`, `a list of 3`, …
std::string describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  const std::string text = shortened(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
  return value.is_string() ? "text " + text : text;
}

template <class T>
struct Checked {
  std::optional<T> value = {};
  std::string problem = {};
};

Checked<double> check_number(const Json& json, const NumberRule& rule) {
  if (!json.is_number()) return {.problem = "expected a number, got " + describe(json)};
  const double value = json.get<double>();
  if (value < rule.at_least) return {.problem = fmt::format("must be at least {}, got {}", rule.at_least, value)};
  if (value <= rule.above) return {.problem = fmt::format("must be above {}, got {}", rule.above, value)};
  if (value > rule.at_most) return {.problem = fmt::format("must be at most {}, got {}", rule.at_most, value)};
  if (value >= rule.below) return {.problem = fmt::format("must be below {}, got {}", rule.below, value)};
  if (std::abs(value) > std::numeric_limits<float>::max())
    return {.problem = fmt::format("must be at most {} in size, got {}", std::numeric_limits<float>::max(), value)};
  // Training computes in single precision. Rounding is monotonic, so only the exclusive bounds need a second check.
  const auto single = static_cast<float>(value);
  const auto rounded = [&](const std::string& wanted) {
    return fmt::format("must be {}, got {}, which is {} in single precision", wanted, value, single);
  };
  if (single <= static_cast<float>(rule.above)) return {.problem = rounded(fmt::format("above {}", rule.above))};
  if (single >= static_cast<float>(rule.below)) return {.problem = rounded(fmt::format("below {}", rule.below))};
  if (single == 0 && value != 0) return {.problem = rounded("0 or further from it")};
  return {.value = value};
}

// JSON has one kind of number: 2.0 and 2e0 are the integer 2, as a JSON Schema takes them, as far as doubles are exact.
bool is_whole_float(const Json& json) {
  constexpr double exact = 9007199254740992.0;  // 2^53
  return json.is_number_float() && std::trunc(json.get<double>()) == json.get<double>() &&
         std::abs(json.get<double>()) <= exact;
}

Checked<std::int64_t> check_integer(const Json& json, const IntegerRule& rule) {
  if (is_whole_float(json)) return check_integer(static_cast<std::int64_t>(json.get<double>()), rule);
  if (!json.is_number_integer()) return {.problem = "expected an integer, got " + describe(json)};
  // The parser stores integers of 2^63 and more as unsigned.
  const bool too_large =
      json.is_number_unsigned() && json.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
  const std::int64_t value = too_large ? 0 : json.get<std::int64_t>();
  if (too_large || value > rule.at_most)
    return {.problem = fmt::format("must be at most {}, got {}", rule.at_most, json.dump())};
  if (value < rule.at_least) return {.problem = fmt::format("must be at least {}, got {}", rule.at_least, value)};
  return {.value = value};
}

Checked<bool> check_boolean(const Json& json) {
  if (!json.is_boolean()) return {.problem = "expected true or false, got " + describe(json)};
  return {.value = json.get<bool>()};
}

Checked<std::string> check_string(const Json& json) {
  if (!json.is_string()) return {.problem = "expected a text, got " + describe(json)};
  std::string text = json.get<std::string>();
  if (text.find('\0') != std::string::npos)
    return {.problem = "must not contain the character NUL, got " + describe(json)};
  return {.value = std::move(text)};
}

// A value for the effective document: as it was given, but integers without a fraction.
template <class T>
Json as_read(const Json& given, const T& value) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    if (given.is_number_float()) return value;
  return given;
}

// The problem of a text that is none of the names.
std::string not_among(const std::vector<std::string>& names, const Json& given, const std::string& text) {
  const std::string nearest = nearest_name(text, names);
  const std::string hint = nearest.empty() ? "" : fmt::format("; did you mean \"{}\"?", nearest);
  return fmt::format("expected one of {}, got {}{}", quoted_list(names), describe(given), hint);
}

// Values returned after a problem; they only have to satisfy the rule.
double some_number(const NumberRule& rule) {
  const double low = std::max(rule.at_least, std::nextafter(rule.above, std::numeric_limits<double>::infinity()));
  const double high = std::min(rule.at_most, std::nextafter(rule.below, -std::numeric_limits<double>::infinity()));
  return std::max(low, std::min(1.0, high));
}

std::int64_t some_integer(const IntegerRule& rule) {
  return std::max(rule.at_least, std::min<std::int64_t>(1, rule.at_most));
}

std::string length_problem(std::size_t size, const LengthRule& rule) {
  if (size >= rule.at_least && size <= rule.at_most) return {};
  const auto entries = [](std::size_t n) { return fmt::format("{} {}", n, n == 1 ? "entry" : "entries"); };
  if (rule.at_least == rule.at_most) return fmt::format("must have {}, has {}", entries(rule.at_least), size);
  return size < rule.at_least ? fmt::format("must have at least {}, has {}", entries(rule.at_least), size)
                              : fmt::format("must have at most {}, has {}", entries(rule.at_most), size);
}

// The paths, without "$.", of all keys that were read outside lists.
void collect_paths(const Node& node, std::vector<std::string>& paths) {
  for (const Member& member : node.members) {
    const std::string path = json_member_path(node.path, member.key);
    paths.push_back(path.starts_with("$.") ? path.substr(2) : path);
    if (!member.is_list)
      for (const auto& child : member.children) collect_paths(*child, paths);
  }
}

// known: keys of this object that are not read here.
void report_unknown_keys(const Node& node, std::vector<std::string> known, const std::vector<std::string>& all,
                         State& state) {
  if (node.input != nullptr) {
    for (const Member& member : node.members) known.push_back(member.key);
    for (const auto& [key, value] : node.input->items()) {
      if (node.find(key) != nullptr) continue;
      const std::string path = json_member_path(node.path, key);
      if (is_comment(key)) {
        if (!value.is_string()) state.report(path, "a comment must be a text, got " + describe(value));
      } else if (!node.open) {
        state.report(path, "unknown key" + key_suggestion(key, known, all));
      }
    }
  }
  for (const Member& member : node.members) {
    for (const auto& child : member.children) report_unknown_keys(*child, {}, all, state);
  }
}

Json effective_document(const Node& node) {
  Json result = Json::object();
  for (const Member& member : node.members) {
    if (member.is_list) {
      Json list = Json::array();
      for (const auto& child : member.children) list.push_back(effective_document(*child));
      result[member.key] = std::move(list);
    } else {
      result[member.key] = member.children.empty() ? member.value : effective_document(*member.children.front());
    }
  }
  return result;
}

std::string list_problems(std::string_view origin, const std::vector<std::string>& problems) {
  std::string message = fmt::format("{}: {} problem{}", origin, problems.size(), problems.size() == 1 ? "" : "s");
  for (const std::string& problem : problems) message += "\n  " + problem;
  return message;
}

}  // namespace

bool is_comment(std::string_view key) { return key == "comment" || key.starts_with("$comment"); }

ConfigError::ConfigError(std::string_view origin, std::vector<std::string> problems)
    : Error(list_problems(origin, problems)), problems_(std::move(problems)) {}

Config::Config(Json document, std::string origin)
    : state_(std::make_shared<State>(State{
          .origin = std::move(origin), .document = std::move(document), .problems = {}, .root = {"$", nullptr}})) {
  if (state_->document.is_object()) {
    state_->root.input = &state_->document;
  } else {
    state_->root.faulty = true;
    state_->report("$", "expected an object, got " + describe(state_->document));
  }
}

ConfigReader Config::root() const { return {state_, &state_->root}; }

bool Config::has_problems() const { return !state_->problems.empty(); }

const Node& Config::asked() const { return state_->root; }

Json Config::finish(const std::vector<std::string>& read_elsewhere) const {
  std::vector<std::string> all = read_elsewhere;
  collect_paths(state_->root, all);
  report_unknown_keys(state_->root, read_elsewhere, all, *state_);
  if (has_problems()) throw ConfigError(state_->origin, state_->problems);
  return effective_document(state_->root);
}

const Json* ConfigReader::ask(std::string_view key) const {
  if (node_->find(key) == nullptr) node_->members.push_back({.key = std::string(key)});
  if (node_->input == nullptr) return nullptr;
  const auto found = node_->input->find(std::string(key));
  return found == node_->input->end() ? nullptr : &*found;
}

template <class Rule>
void ConfigReader::note(std::string_view key, Rule rule, bool optional) const {
  ask(key);
  node_->find(key)->asked.push_back({std::move(rule), optional});
}

void ConfigReader::record(std::string_view key, Json value) const { node_->find(key)->value = std::move(value); }

void ConfigReader::error(std::string_view key, std::string_view message) const {
  if (key == "type") node_->open = true;
  state_->report(path_of(key), message);
}

void ConfigReader::give_up() const { node_->open = true; }

void ConfigReader::is_a(std::string_view kind) const { node_->kind = kind; }

void ConfigReader::missing(std::string_view key, std::string_view expected) const {
  if (!node_->faulty) error(key, fmt::format("missing: {} is required", expected));
}

template <class T, class Check>
T ConfigReader::read(std::string_view key, const std::optional<T>& default_value, T fallback, std::string_view expected,
                     Check check) const {
  const Json* json = ask(key);
  if (json == nullptr) {
    if (!default_value) missing(key, expected);
    if (default_value) record(key, *default_value);
    return default_value.value_or(std::move(fallback));
  }
  Checked<T> checked = check(*json);
  if (checked.value) {
    record(key, as_read<T>(*json, *checked.value));
    return std::move(*checked.value);
  }
  error(key, checked.problem);
  return default_value.value_or(std::move(fallback));
}

template <class T, class Check>
std::vector<T> ConfigReader::read_list(std::string_view key, const std::optional<std::vector<T>>& default_value,
                                       const LengthRule& length, T fallback, std::string_view expected,
                                       Check check) const {
  const Json* json = ask(key);
  if (json == nullptr && default_value) {
    record(key, *default_value);
    return *default_value;
  }
  std::vector<T> values;
  if (json == nullptr) {
    missing(key, expected);
  } else if (!json->is_array()) {
    error(key, fmt::format("expected {}, got {}", expected, describe(*json)));
  } else {
    Json read = *json;
    if (const std::string problem = length_problem(json->size(), length); !problem.empty()) error(key, problem);
    for (std::size_t i = 0; i < std::min(json->size(), length.at_most); ++i) {
      Checked<T> checked = check((*json)[i]);
      if (!checked.value) state_->report(json_element_path(path_of(key), i), checked.problem);
      if (checked.value) read[i] = as_read<T>(read[i], *checked.value);
      values.push_back(checked.value.value_or(fallback));
    }
    record(key, std::move(read));
  }
  while (values.size() < length.at_least) values.push_back(fallback);
  return values;
}

double ConfigReader::read_number(std::string_view key, const NumberRule& rule) const {
  return read<double>(key, rule.default_value, some_number(rule), "a number",
                      [&](const Json& json) { return check_number(json, rule); });
}

std::int64_t ConfigReader::read_integer(std::string_view key, const IntegerRule& rule) const {
  return read<std::int64_t>(key, rule.default_value, some_integer(rule), "an integer",
                            [&](const Json& json) { return check_integer(json, rule); });
}

std::vector<std::int64_t> ConfigReader::read_integers(std::string_view key, const IntegerListRule& rule) const {
  return read_list<std::int64_t>(key, rule.default_value, rule.length, some_integer(rule.each), "a list of integers",
                                 [&](const Json& json) { return check_integer(json, rule.each); });
}

double ConfigReader::number(std::string_view key, const NumberRule& rule) const {
  note(key, rule);
  return read_number(key, rule);
}

std::int64_t ConfigReader::integer(std::string_view key, const IntegerRule& rule) const {
  note(key, rule);
  return read_integer(key, rule);
}

bool ConfigReader::boolean(std::string_view key, std::optional<bool> default_value) const {
  note(key, BooleanRule{default_value});
  return read<bool>(key, default_value, false, "true or false", check_boolean);
}

std::string ConfigReader::string(std::string_view key, const std::optional<std::string>& default_value) const {
  note(key, TextRule{default_value});
  return read<std::string>(key, default_value, "", "a text", check_string);
}

std::size_t ConfigReader::choose(std::string_view key, const std::vector<std::string>& names,
                                 std::optional<std::size_t> default_index) const {
  NSGD_CHECK(!names.empty(), "{}: no choices", path_of(key));
  note(key, ChoiceRule{names, default_index});
  const std::size_t fallback = default_index.value_or(0);
  const Json* json = ask(key);
  if (json == nullptr) {
    if (default_index) {
      record(key, names[*default_index]);
    } else {
      missing(key, "one of " + quoted_list(names));
    }
    return fallback;
  }
  // An unquoted name such as true is parsed as a boolean or a number, but its meaning is unambiguous.
  const bool bare = json->is_boolean() || json->is_number();
  if (!json->is_string() && !bare) {
    error(key, fmt::format("expected one of {}, got {}", quoted_list(names), describe(*json)));
    return fallback;
  }
  const std::string name = bare ? json->dump() : json->get<std::string>();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    error(key, not_among(names, *json, name));
    return fallback;
  }
  record(key, name);
  return static_cast<std::size_t>(found - names.begin());
}

std::string ConfigReader::choice(std::string_view key, const std::vector<std::string>& names,
                                 const std::optional<std::string>& default_value) const {
  std::optional<std::size_t> default_index;
  if (default_value) {
    const auto found = std::find(names.begin(), names.end(), *default_value);
    NSGD_CHECK(found != names.end(), "{}: the default \"{}\" is not among the choices", path_of(key), *default_value);
    default_index = static_cast<std::size_t>(found - names.begin());
  }
  return names[choose(key, names, default_index)];
}

std::optional<double> ConfigReader::optional_number(std::string_view key, const NumberRule& rule) const {
  note(key, rule, true);
  const Json* json = ask(key);
  if (json == nullptr ? !rule.default_value : json->is_null()) return std::nullopt;
  return read_number(key, rule);
}

std::optional<std::int64_t> ConfigReader::optional_integer(std::string_view key, const IntegerRule& rule) const {
  note(key, rule, true);
  const Json* json = ask(key);
  if (json == nullptr ? !rule.default_value : json->is_null()) return std::nullopt;
  return read_integer(key, rule);
}

std::optional<std::string> ConfigReader::optional_string(std::string_view key) const {
  note(key, TextRule{}, true);
  const Json* json = ask(key);
  if (json == nullptr || json->is_null()) return std::nullopt;
  return read<std::string>(key, {}, "", "a text", check_string);
}

std::vector<double> ConfigReader::numbers(std::string_view key, const NumberListRule& rule) const {
  note(key, rule);
  return read_list<double>(key, rule.default_value, rule.length, some_number(rule.each), "a list of numbers",
                           [&](const Json& json) { return check_number(json, rule.each); });
}

std::vector<std::int64_t> ConfigReader::integers(std::string_view key, const IntegerListRule& rule) const {
  note(key, rule);
  const auto values = read_integers(key, rule);
  if (rule.distinct) check_distinct(key);
  return values;
}

std::vector<std::string> ConfigReader::strings(std::string_view key, const StringListRule& rule) const {
  note(key, rule);
  const auto check = [&](const Json& json) {
    Checked<std::string> text = check_string(json);
    const bool known = !text.value || rule.names.empty() || std::ranges::count(rule.names, *text.value) > 0;
    return known ? text : Checked<std::string>{.problem = not_among(rule.names, json, *text.value)};
  };
  const std::string fallback = rule.names.empty() ? "" : rule.names.front();
  const auto texts = read_list<std::string>(key, rule.default_value, rule.length, fallback, "a list of texts", check);
  if (rule.distinct) check_distinct(key);
  return texts;
}

void ConfigReader::check_distinct(std::string_view key) const {
  const Json* json = ask(key);
  if (json == nullptr || !json->is_array()) return;
  for (auto entry = json->begin(); entry != json->end(); ++entry)
    if (std::find(json->begin(), entry, *entry) != entry) error(key, fmt::format("has {} twice", entry->dump()));
}

std::array<std::int64_t, 2> ConfigReader::integer_pair(std::string_view key, const IntegerRule& rule) const {
  note(key, IntegerPairRule{rule});
  const Json* json = ask(key);
  if (json == nullptr || !json->is_array()) {
    const std::int64_t both = read_integer(key, rule);
    return {both, both};
  }
  const auto pair = read_integers(key, {.length = {.at_least = 2, .at_most = 2}, .each = rule});
  return {pair[0], pair[1]};
}

ConfigReader ConfigReader::object(std::string_view key) const {
  note(key, ObjectRule{});
  return read_object(key);
}

ConfigReader ConfigReader::read_object(std::string_view key) const {
  const Json* json = ask(key);
  Member& member = *node_->find(key);
  if (member.children.empty()) {
    auto child = std::make_unique<Node>(Node{.path = path_of(key), .input = json, .faulty = node_->faulty});
    if (json != nullptr && !json->is_object()) {
      error(key, "expected an object, got " + describe(*json));
      child->input = nullptr;
      child->faulty = true;
    }
    member.children.push_back(std::move(child));
  }
  return {state_, member.children.front().get()};
}

std::optional<ConfigReader> ConfigReader::optional_object(std::string_view key) const {
  note(key, ObjectRule{}, true);
  const Json* json = ask(key);
  if (json == nullptr || json->is_null()) return std::nullopt;
  return read_object(key);
}

std::vector<ConfigReader> ConfigReader::objects(std::string_view key, const LengthRule& length) const {
  note(key, ObjectListRule{length});
  const Json* json = ask(key);
  Member& member = *node_->find(key);
  if (!member.is_list) {
    member.is_list = true;
    if (json == nullptr) {
      if (length.at_least > 0) missing(key, "a list of objects");
    } else if (!json->is_array()) {
      error(key, "expected a list of objects, got " + describe(*json));
    } else {
      if (const std::string problem = length_problem(json->size(), length); !problem.empty()) error(key, problem);
      for (std::size_t i = 0; i < std::min(json->size(), length.at_most); ++i) {
        const Json& element = (*json)[i];
        const std::string path = json_element_path(path_of(key), i);
        if (!element.is_object()) state_->report(path, "expected an object, got " + describe(element));
        const bool usable = element.is_object();
        member.children.push_back(
            std::make_unique<Node>(Node{.path = path, .input = usable ? &element : nullptr, .faulty = !usable}));
      }
    }
  }
  std::vector<ConfigReader> readers;
  for (const auto& child : member.children) readers.push_back(ConfigReader(state_, child.get()));
  return readers;
}

Json ConfigReader::any(std::string_view key, const Json& default_value) const {
  note(key, AnyRule{default_value});
  const Json* json = ask(key);
  const Json& value = json == nullptr ? default_value : *json;
  record(key, value);
  return value;
}

bool ConfigReader::has(std::string_view key) const {
  auto& keys = node_->looked_for;
  if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.emplace_back(key);
  return node_->input != nullptr && node_->input->contains(std::string(key));
}

const std::string& ConfigReader::path() const { return node_->path; }

std::string ConfigReader::path_of(std::string_view key) const { return json_member_path(node_->path, key); }

Json parse_config(std::string_view text, std::string_view origin) {
  try {
    return parse_json(text, origin);
  } catch (const Error& error) {
    throw ConfigError(error.what());
  }
}

namespace {

std::string read_config_file(const std::string& path) {
  std::error_code no_size;  // a pipe, or an error that read_file will report
  const auto bytes = std::filesystem::file_size(path, no_size);
  if (!no_size && bytes > JsonLimits{}.bytes)
    throw ConfigError(fmt::format("{}: has {} bytes; at most {} are allowed", path, bytes, JsonLimits{}.bytes));
  return read_file(path);
}

}  // namespace

Json parse_config_file(const std::string& path) { return parse_config(read_config_file(path), path); }

Json parse_config_file(const std::string& path, std::vector<std::string>& problems) {
  const std::string text = read_config_file(path);
  try {
    return parse_json_with_duplicates(text, path, problems);
  } catch (const Error& error) {
    throw ConfigError(error.what());
  }
}

}  // namespace noisysgd
