// Reads the members of a JSON object that the program wrote itself, and checks their types and ranges. Throws Error
// that names the key, its value and what is expected: `"step" is 3.7, expected a whole number from 0 to 12`.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

class Record {
 public:
  explicit Record(const Json& json) : json_(json) { NSGD_CHECK(json.is_object(), "{} is no object", json.type_name()); }

  const Json& at(const std::string& key) const {
    const auto found = json_.find(key);
    NSGD_CHECK(found != json_.end(), "\"{}\" is missing", key);
    return *found;
  }

  int64_t whole(const std::string& key, int64_t low, int64_t high = std::numeric_limits<int64_t>::max()) const {
    const Json& value = at(key);
    const bool fits =
        value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t{INT64_MAX} : value.is_number_integer();
    const int64_t number = fits ? value.get<int64_t>() : 0;
    const bool open = high == std::numeric_limits<int64_t>::max();
    if (!fits || number < low || number > high)
      fail(key, fmt::format("a whole number from {} {}", low, open ? "on" : fmt::format("to {}", high)));
    return number;
  }

  // Any finite number if no range is given.
  double number(const std::string& key, double low = -largest, double high = largest) const {
    const Json& value = at(key);
    const double number = value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(number >= low && number <= high))
      fail(key, low == -largest
                    ? "a finite number"
                    : fmt::format("a number from {} {}", low, high == largest ? "on" : fmt::format("to {}", high)));
    return number;
  }

  std::string text(const std::string& key) const {
    if (!at(key).is_string()) fail(key, "a text");
    return at(key).get<std::string>();
  }

  void has_only_keys_of(const Json& known) const {
    for (const auto& [key, value] : json_.items()) NSGD_CHECK(known.contains(key), "unknown key \"{}\"", key);
  }

  // Throws Error if the value is not `expected`.
  void equals(const std::string& key, const Json& expected) const {
    if (at(key) != expected) fail(key, expected.dump());
  }

 private:
  static constexpr double largest = std::numeric_limits<double>::max();

  [[noreturn]] void fail(const std::string& key, const std::string& expected) const {
    const Json& value = at(key);
    const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    const bool shown = !value.is_structured() && text.size() <= 60;
    throw Error(fmt::format("\"{}\" is {}, expected {}", key, shown ? text : value.type_name(), expected));
  }

  const Json& json_;
};

}  // namespace noisysgd
