// Whether the seeds tell two regimes apart. Runs with one seed have the same initial values and order of images, so
// their results are compared in pairs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <noisysgd/apps/spread.h>

namespace noisysgd {

using SeedResults = std::map<uint64_t, double>;  // a finite result of each finished run, by seed

// The difference first - second over the common seeds.
struct PairedDifference {
  Spread difference;                 // count: common seeds
  std::optional<double> half_width;  // of the 95 % interval around the mean; none: fewer than two seeds

  // "higher", "lower", "no difference" if all values are equal, or "the seeds cannot tell" if the interval contains 0.
  std::string verdict() const;
  // "−0.41" and "−0.55 to −0.27" ("–" without an interval), times `factor`.
  std::string mean_text(double factor, int digits) const;
  std::string interval_text(double factor, int digits) const;
};
PairedDifference paired_difference(const SeedResults& first, const SeedResults& second);

}  // namespace noisysgd
