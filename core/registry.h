// Maps the "type" in a configuration to a builder. Layers, noises, optimizers, schedules, data sets and losses have one
// registry each. A program adds its own types before it reads a configuration:
//
//   extensions.noises.add("laplace_fisher", LaplaceFisher::read);
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/suggest.h>

namespace noisysgd {

// Entry: a builder, or a struct that begins with one.
template <class Entry>
class Registry {
 public:
  // thing: what messages call an entry, such as "an optimizer".
  explicit Registry(std::string thing) : thing_(std::move(thing)) {}

  // Throws Error if the type is empty or already registered.
  template <class... Parts>
  void add(std::string type, Parts&&... parts) {
    NSGD_CHECK(!type.empty(), "{} without a name is registered", thing_);
    const bool is_new = entries_.emplace(type, Entry{std::forward<Parts>(parts)...}).second;
    NSGD_CHECK(is_new, "{} of type '{}' is registered already", thing_, type);
  }

  std::vector<std::string> types() const {  // in alphabetical order
    std::vector<std::string> names;
    for (const auto& [type, entry] : entries_) names.push_back(type);
    return names;
  }

  // Throws Error for a type that is not registered.
  const Entry& at(const std::string& type) const {
    const auto found = entries_.find(type);
    NSGD_CHECK(found != entries_.end(), "{} of type '{}' is not registered{}", thing_, type, suggestion(type, types()));
    return found->second;
  }

  // The value of "type", one of `types`.
  std::string read_type(const ConfigReader& json, const std::optional<std::string>& default_value = {}) const {
    json.is_a(thing_);
    return json.choice("type", types(), default_value);
  }

 private:
  std::string thing_;
  std::map<std::string, Entry> entries_;
};

}  // namespace noisysgd
