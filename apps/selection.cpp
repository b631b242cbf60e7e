#include <noisysgd/apps/selection.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace noisysgd {

namespace {

template <class T>
bool empty_or_has(const std::vector<T>& values, const T& value) {
  return values.empty() || std::find(values.begin(), values.end(), value) != values.end();
}

constexpr std::string_view regime_key = "regime=", seed_key = "seed=";

// True if `rest` may follow a value: it is empty, or a comma and the next pair.
bool ends_value(std::string_view rest) {
  if (rest.empty()) return true;
  if (!rest.starts_with(',')) return false;
  rest.remove_prefix(1);
  return rest.starts_with(regime_key) || rest.starts_with(seed_key);
}

std::string json_text(const std::string& name) { return Json(name).dump(); }

// Removes a regime's name from the front of `rest` and returns it. A name may contain commas, so the known names are
// tried, plain and as JSON strings.
std::string take_regime(std::string_view& rest, const std::string& text, const std::string& experiment,
                        const std::vector<std::string>& known) {
  std::vector<std::string> meant;
  for (const std::string& name : known) {
    if (rest.starts_with(name) && ends_value(rest.substr(name.size()))) meant.push_back(name);
    const std::string quoted = json_text(name);
    if (!rest.starts_with(quoted) || !ends_value(rest.substr(quoted.size()))) continue;
    rest.remove_prefix(quoted.size());
    return name;
  }
  NSGD_CHECK(meant.size() < 2, "--only {}: may mean the regime {} or {}; --only 'regime={}' means the first", text,
             json_text(meant[0]), json_text(meant[1]), json_text(meant[0]));
  const std::string name = meant.empty() ? std::string(rest.substr(0, rest.find(','))) : meant.front();
  NSGD_CHECK(std::find(known.begin(), known.end(), name) != known.end(), "--only {}{}: {} has no such regime, only {}",
             regime_key, name, experiment, fmt::format("{}", fmt::join(known, ", ")));
  rest.remove_prefix(name.size());
  return name;
}

uint64_t take_seed(std::string_view& rest, const Experiment& experiment) {
  const std::string_view value = rest.substr(0, rest.find(','));
  uint64_t seed = 0;
  const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), seed);
  const bool number = error == std::errc() && stop == value.data() + value.size();
  NSGD_CHECK(number && std::find(experiment.seeds.begin(), experiment.seeds.end(), seed) != experiment.seeds.end(),
             "--only {}{}: {} has no such seed, only {}", seed_key, value, experiment.name,
             fmt::format("{}", fmt::join(experiment.seeds, ", ")));
  rest.remove_prefix(value.size());
  return seed;
}

}  // namespace

Selection::Selection(const std::vector<std::string>& texts, const Experiment& experiment) {
  std::vector<std::string> known;
  for (const Regime& regime : experiment.regimes) known.push_back(regime.name);
  for (const std::string& text : texts) {
    std::string_view rest = text;
    while (true) {
      if (rest.starts_with(regime_key)) {
        rest.remove_prefix(regime_key.size());
        regimes_.push_back(take_regime(rest, text, experiment.name, known));
      } else {
        NSGD_CHECK(rest.starts_with(seed_key), "--only {}: expected regime=NAME or seed=NUMBER, got \"{}\"", text,
                   rest);
        rest.remove_prefix(seed_key.size());
        seeds_.push_back(take_seed(rest, experiment));
      }
      if (rest.empty()) break;
      rest.remove_prefix(1);  // the comma
    }
  }
}

bool Selection::includes(const Regime& regime, uint64_t seed) const {
  return includes(regime) && empty_or_has(seeds_, seed);
}

bool Selection::includes(const Regime& regime) const { return empty_or_has(regimes_, regime.name); }

}  // namespace noisysgd
