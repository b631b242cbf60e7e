#include <noisysgd/apps/spread.h>

#include <fmt/format.h>

#include <cmath>

#include <noisysgd/apps/progress.h>
#include <noisysgd/core/json.h>

namespace noisysgd {

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

}  // namespace noisysgd
