// Strict JSON configuration: values are checked as they are read, keys that are never read are errors, and all errors
// are reported in one message.
//
//   Config config(parse_config_file("experiment.json"), "experiment.json");
//   const ConfigReader optimizer = config.root().object("optimizer");
//   const double momentum = optimizer.number("momentum", {.default_value = 0.9, .at_least = 0, .below = 1});
//   const Json effective = config.finish();  // throws ConfigError, or returns the document with all defaults
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <noisysgd/core/json_fwd.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

// Every problem of a configuration, one per line with its JSON path.
class ConfigError : public Error {
 public:
  ConfigError(std::string_view origin, std::vector<std::string> problems);
  explicit ConfigError(const std::string& message) : Error(message), problems_{message} {}
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  std::vector<std::string> problems_;
};

// Rules for values. Without default_value the key is required. Every value is bounded, so that sums and products of
// values do not overflow: integers have 31 bits by default, lists at most 10 000 entries. A number rounded to single
// precision must also be finite and within the bounds, and must not become 0 unless it is 0.
struct NumberRule {
  std::optional<double> default_value = {};
  double at_least = -std::numeric_limits<double>::infinity();
  double above = -std::numeric_limits<double>::infinity();
  double at_most = std::numeric_limits<double>::infinity();
  double below = std::numeric_limits<double>::infinity();
};
struct IntegerRule {
  std::optional<std::int64_t> default_value = {};
  std::int64_t at_least = -std::numeric_limits<std::int32_t>::max();
  std::int64_t at_most = std::numeric_limits<std::int32_t>::max();
};
struct LengthRule {
  std::size_t at_least = 0;
  std::size_t at_most = 10'000;
};
struct NumberListRule {
  std::optional<std::vector<double>> default_value = {};
  LengthRule length = {};
  NumberRule each = {};
};
struct IntegerListRule {
  std::optional<std::vector<std::int64_t>> default_value = {};
  LengthRule length = {};
  IntegerRule each = {};
  bool distinct = false;
};
struct StringListRule {
  std::optional<std::vector<std::string>> default_value = {};
  LengthRule length = {};
  bool distinct = false;
  std::vector<std::string> names = {};  // the texts that are allowed; empty: any
};

// Keys that hold remarks and are ignored everywhere: "comment" and "$comment…".
bool is_comment(std::string_view key);

namespace config_detail {
struct Node;
struct State;
}  // namespace config_detail

// A view of one object of the document. A getter does not throw for an invalid document: it records the problem and
// returns the default, or some value that satisfies the rule, and reading continues. Cheap to copy; keeps the document
// alive.
class ConfigReader {
 public:
  double number(std::string_view key, const NumberRule& rule = {}) const;
  std::int64_t integer(std::string_view key, const IntegerRule& rule = {}) const;
  bool boolean(std::string_view key, std::optional<bool> default_value = {}) const;
  std::string string(std::string_view key, const std::optional<std::string>& default_value = {}) const;

  // One of the given names; the second form maps each name to an enumeration value.
  std::string choice(std::string_view key, const std::vector<std::string>& names,
                     const std::optional<std::string>& default_value = {}) const;
  template <class T>
  T choice(std::string_view key, std::initializer_list<std::pair<const char*, T>> choices,
           std::optional<T> default_value = {}) const;

  // None if the value is null, or if the key is absent and the rule has no default.
  std::optional<double> optional_number(std::string_view key, const NumberRule& rule = {}) const;
  std::optional<std::int64_t> optional_integer(std::string_view key, const IntegerRule& rule = {}) const;
  std::optional<std::string> optional_string(std::string_view key) const;

  std::vector<double> numbers(std::string_view key, const NumberListRule& rule = {}) const;
  std::vector<std::int64_t> integers(std::string_view key, const IntegerListRule& rule = {}) const;
  std::vector<std::string> strings(std::string_view key, const StringListRule& rule = {}) const;
  std::array<std::int64_t, 2> integer_pair(std::string_view key, const IntegerRule& rule = {}) const;  // 3 or [3, 5]

  ConfigReader object(std::string_view key) const;  // absent: an empty object; its defaults apply
  std::optional<ConfigReader> optional_object(std::string_view key) const;                       // absent or null: none
  std::vector<ConfigReader> objects(std::string_view key, const LengthRule& length = {}) const;  // absent: empty list
  Json any(std::string_view key, const Json& default_value) const;  // unchecked

  bool has(std::string_view key) const;  // present, even as null; does not count as reading the key
  const std::string& path() const;       // "$.optimizer.noise"
  std::string path_of(std::string_view key) const;
  void error(std::string_view key, std::string_view message) const;  // records a problem found by the caller
  void give_up() const;  // the valid keys are not known: unread keys of this object are not reported
  // Says what the object describes, such as "a layer": a name for it in a JSON Schema.
  void is_a(std::string_view kind) const;

 private:
  friend class Config;
  using Node = config_detail::Node;
  using State = config_detail::State;

  ConfigReader(std::shared_ptr<State> state, Node* node) : state_(std::move(state)), node_(node) {}

  const Json* ask(std::string_view key) const;  // marks the key as read; null if absent
  template <class Rule>
  void note(std::string_view key, Rule rule, bool optional = false) const;
  void record(std::string_view key, Json value) const;
  void missing(std::string_view key, std::string_view expected) const;
  std::size_t choose(std::string_view key, const std::vector<std::string>& names,
                     std::optional<std::size_t> default_index) const;
  double read_number(std::string_view key, const NumberRule& rule) const;
  std::int64_t read_integer(std::string_view key, const IntegerRule& rule) const;
  std::vector<std::int64_t> read_integers(std::string_view key, const IntegerListRule& rule) const;
  void check_distinct(std::string_view key) const;
  ConfigReader read_object(std::string_view key) const;
  template <class T, class Check>
  T read(std::string_view key, const std::optional<T>& default_value, T fallback, std::string_view expected,
         Check check) const;
  template <class T, class Check>
  std::vector<T> read_list(std::string_view key, const std::optional<std::vector<T>>& default_value,
                           const LengthRule& length, T fallback, std::string_view expected, Check check) const;

  std::shared_ptr<State> state_;
  Node* node_;
};

// A document being read, with the problems found so far and the effective document; shared by all its readers.
class Config {
 public:
  explicit Config(Json document, std::string origin = "configuration");

  ConfigReader root() const;
  bool has_problems() const;  // found so far; unknown keys are found by finish()
  // Throws ConfigError with all problems, including every unread key of the objects that were visited (texts under
  // "comment" or "$comment…" are allowed). Returns the values that were read, in the order of reading. read_elsewhere:
  // keys of the whole document that were taken out of it before, for hints at misspelt ones.
  Json finish(const std::vector<std::string>& read_elsewhere = {}) const;
  const config_detail::Node& asked() const;  // what was asked for so far: core/config_schema.h

 private:
  std::shared_ptr<config_detail::State> state_;
};

Json parse_config(std::string_view text, std::string_view origin);  // ConfigError: syntax, duplicate keys, size
Json parse_config_file(const std::string& path);

// The same, but a key that occurs twice is added to `problems`, to be reported with the other problems of the document
// (with_earlier_problems), and its first value counts.
Json parse_config_file(const std::string& path, std::vector<std::string>& problems);

// Returns what `read` returns. Throws ConfigError with `earlier` problems, if there are any, and those of `read`.
template <class Read>
auto with_earlier_problems(const std::string& origin, std::vector<std::string> earlier, const Read& read) {
  if (earlier.empty()) return read();
  try {
    read();
  } catch (const ConfigError& error) {
    for (const std::string& problem : error.problems())
      if (std::find(earlier.begin(), earlier.end(), problem) == earlier.end()) earlier.push_back(problem);
  }
  throw ConfigError(origin, std::move(earlier));
}

// RFC 7386 merge patch (null removes, objects merge, all else replaces), except that an object whose "type" changes is
// replaced whole, because the keys of the old type do not apply to the new one.
Json merge_config(const Json& base, const Json& patch);

// Sets one value: "optimizer.momentum=0.5", "regimes[1].name=LB". The value is parsed as JSON; a bare word is a text. A
// list entry is selected by its index or by its "name": "regimes[LB+Diag].noise.scale=2". Brackets in a name must be
// balanced; any name may be written as a JSON text, as in regimes["a]"]. Missing objects on the path are created; lists
// are never extended. Throws ConfigError, also if a number is the index of one entry and the name of another.
void apply_override(Json& document, std::string_view assignment);

// Path and value of an assignment, at the first '=' outside brackets. Throws ConfigError if there is none.
struct Assignment {
  std::string_view path, value;
};
Assignment split_assignment(std::string_view assignment);

// The name as apply_override reads it in brackets: "LB+Diag", or the JSON text "\"a]\"" where it would be misread.
std::string bracketed_name(const std::string& name);

// The differences of two documents, each as "$.batch.size: 64 there, 128 here" (or "absent"); empty if they are equal.
// Lists of equal length are compared entry by entry.
std::vector<std::string> config_differences(const Json& there, const Json& here);

template <class T>
T ConfigReader::choice(std::string_view key, std::initializer_list<std::pair<const char*, T>> choices,
                       std::optional<T> default_value) const {
  std::vector<std::string> names;
  std::optional<std::size_t> default_index;
  for (const auto& [name, value] : choices) {
    if (default_value == value && !default_index) default_index = names.size();
    names.emplace_back(name);
  }
  NSGD_CHECK(!default_value || default_index, "{}: the default is not among the choices", path_of(key));
  return choices.begin()[choose(key, names, default_index)].second;
}

}  // namespace noisysgd
