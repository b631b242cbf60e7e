#include <noisysgd/apps/report/results.h>

#include <cmath>

namespace noisysgd {

Spread result_of(const RunGroup& group, const std::string& field) {
  std::vector<double> values;
  for (const LoggedRun& run : group.runs)
    if (const double value = run.result(field); std::isfinite(value)) values.push_back(value);
  return spread_of(values);
}

PairedDifference paired_difference(const RunGroup& first, const RunGroup& second, const std::string& field) {
  std::vector<double> differences;
  for (const LoggedRun& a : first.runs)
    for (const LoggedRun& b : second.runs)
      if (const double difference = a.result(field) - b.result(field); a.seed == b.seed && std::isfinite(difference))
        differences.push_back(difference);
  PairedDifference result{spread_of(differences), {}};
  if (differences.size() > 1) result.half_width = student_half_width(result.difference);
  return result;
}

std::string PairedDifference::verdict() const {
  if (!half_width) return "needs two common seeds";
  if (difference.mean == 0 && *half_width == 0) return "no difference";
  if (std::abs(difference.mean) <= *half_width) return "the seeds cannot tell";
  return difference.mean > 0 ? "higher" : "lower";
}

}  // namespace noisysgd
