#include <noisysgd/apps/spread.h>

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include <noisysgd/apps/progress.h>
#include <noisysgd/core/json.h>

namespace noisysgd {
namespace {

// P(|T| < t), Abramowitz and Stegun 26.7.3 and 26.7.4: a finite sum for a whole number of degrees of freedom.
double central_probability(double t, size_t degrees) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const double cosine = std::cos(angle), squared = cosine * cosine;
  const bool odd = degrees % 2 == 1;
  double term = odd ? cosine : 1, sum = 0;
  for (size_t k = odd ? 1 : 0; k + 1 < degrees; k += 2) {
    sum += term;
    term *= squared * static_cast<double>(k + 1) / static_cast<double>(k + 2);
  }
  return odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

}  // namespace

Json Spread::json() const { return {{"mean", mean}, {"standard_deviation", deviation}}; }

std::string Spread::text(double factor, int digits) const {
  if (count == 0) return "";
  std::string text = fmt::format("{:.{}f}", factor * mean, digits);
  if (count > 1) text += fmt::format(" ± {:.{}f}", factor * deviation, digits);
  return text;
}

std::string Spread::loss_text() const {
  if (count == 0) return "";
  return format_loss(mean) + (count > 1 ? " ± " + format_loss(deviation) : "");
}

Spread spread_of(std::span<const double> values) {
  Spread spread;
  spread.count = values.size();
  for (const double value : values) spread.mean += value / static_cast<double>(spread.count);
  if (spread.count < 2) return spread;
  double squares = 0;
  for (const double value : values) squares += std::pow(value - spread.mean, 2);
  spread.deviation = std::sqrt(squares / static_cast<double>(spread.count - 1));
  return spread;
}

double student_quantile(double probability, size_t degrees) {
  const double central = 2 * probability - 1;
  double low = 0, high = 1;
  while (central_probability(high, degrees) < central) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (central_probability(middle, degrees) < central ? low : high) = middle;
  }
  return high;
}

double student_half_width(const Spread& spread) {
  const auto n = static_cast<double>(spread.count);
  return student_quantile(0.975, spread.count - 1) * spread.deviation / std::sqrt(n);
}

}  // namespace noisysgd
