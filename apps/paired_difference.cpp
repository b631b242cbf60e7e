#include <noisysgd/apps/paired_difference.h>

#include <fmt/format.h>

#include <cmath>
#include <vector>

namespace noisysgd {

namespace {

// With a sign, a minus as wide as the plus.
std::string signed_text(double value, int digits) {
  const std::string text = fmt::format("{:+.{}f}", value, digits);
  return text.starts_with('-') ? "−" + text.substr(1) : text;
}

}  // namespace

PairedDifference paired_difference(const SeedResults& first, const SeedResults& second) {
  std::vector<double> differences;
  for (const auto& [seed, value] : first)
    if (const auto other = second.find(seed); other != second.end()) differences.push_back(value - other->second);
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

std::string PairedDifference::mean_text(double factor, int digits) const {
  return signed_text(factor * difference.mean, digits);
}

std::string PairedDifference::interval_text(double factor, int digits) const {
  if (!half_width) return "–";
  return fmt::format("{} to {}", signed_text(factor * (difference.mean - *half_width), digits),
                     signed_text(factor * (difference.mean + *half_width), digits));
}

}  // namespace noisysgd
