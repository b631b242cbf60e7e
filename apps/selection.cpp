#include "apps/selection.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace noisysgd {

namespace {

template <class T>
bool empty_or_has(const std::vector<T>& values, const T& value) {
  return values.empty() || std::find(values.begin(), values.end(), value) != values.end();
}

}  // namespace

Selection::Selection(const std::vector<std::string>& texts, const Experiment& experiment) {
  std::vector<std::string> known;
  for (const Regime& regime : experiment.regimes) known.push_back(regime.name);
  const auto add = [&](std::string_view pair, const std::string& text) {
    const size_t equals = pair.find('=');
    const std::string_view key = pair.substr(0, equals);
    NSGD_CHECK(equals != std::string_view::npos && (key == "regime" || key == "seed"),
               "--only {}: expected regime=NAME or seed=NUMBER, got \"{}\"", text, pair);
    const std::string value(pair.substr(equals + 1));
    if (key == "regime") {
      NSGD_CHECK(std::find(known.begin(), known.end(), value) != known.end(),
                 "--only {}: {} has no such regime, only {}", pair, experiment.name, fmt::join(known, ", "));
      regimes_.push_back(value);
      return;
    }
    uint64_t seed = 0;
    const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), seed);
    const bool number = error == std::errc() && stop == value.data() + value.size() && !value.empty();
    NSGD_CHECK(number && std::find(experiment.seeds.begin(), experiment.seeds.end(), seed) != experiment.seeds.end(),
               "--only {}: {} has no such seed, only {}", pair, experiment.name, fmt::join(experiment.seeds, ", "));
    seeds_.push_back(seed);
  };
  for (const std::string& text : texts) {
    std::string_view rest = text;
    for (size_t comma = rest.find(','); comma != std::string_view::npos; comma = rest.find(',')) {
      add(rest.substr(0, comma), text);
      rest.remove_prefix(comma + 1);
    }
    add(rest, text);
  }
}

bool Selection::includes(const Regime& regime, uint64_t seed) const {
  return includes(regime) && empty_or_has(seeds_, seed);
}

bool Selection::includes(const Regime& regime) const { return empty_or_has(regimes_, regime.name); }

}  // namespace noisysgd
