// The final results of groups of runs, and whether the seeds tell two groups apart.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <noisysgd/apps/report/sources.h>
#include <noisysgd/apps/spread.h>

namespace noisysgd {

// The field of summary.json over a group's finished runs; values that are missing are left out.
Spread result_of(const RunGroup& group, const std::string& field);

// The difference first - second over the seeds that both groups have finished.
struct PairedDifference {
  Spread difference;                 // count: common seeds
  std::optional<double> half_width;  // of the 95 % interval around the mean; none: fewer than two seeds

  // "higher", "lower", "no difference" if all values are equal, or "the seeds cannot tell" if the interval contains 0.
  std::string verdict() const;
};
PairedDifference paired_difference(const RunGroup& first, const RunGroup& second, const std::string& field);

}  // namespace noisysgd
