#include <noisysgd/apps/report/results.h>

#include <cmath>
#include <vector>

namespace noisysgd {

SeedResults results_of(const RunGroup& group, const std::string& field) {
  SeedResults results;
  for (const LoggedRun& run : group.runs)
    if (const double value = run.result(field); std::isfinite(value)) results[run.seed] = value;
  return results;
}

Spread result_of(const RunGroup& group, const std::string& field) {
  std::vector<double> values;
  for (const auto& [seed, value] : results_of(group, field)) values.push_back(value);
  return spread_of(values);
}

}  // namespace noisysgd
