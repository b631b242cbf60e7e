// Means over seeds with their standard deviation, as figures show them.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <noisysgd/apps/analysis/figure.h>

namespace noisysgd {

// Values at places of an axis, one for each seed that has one there.
class OverSeeds {
 public:
  void add(double x, double y) { values_[x].push_back(y); }
  bool empty() const { return values_.empty(); }

  // With a band of one standard deviation around the mean if there are several seeds. Places that not all seeds have
  // reached are left out, so that a line is of the same seeds everywhere.
  Series series(std::string name, SeriesStyle style = SeriesStyle::line) const {
    size_t seeds = 0;
    for (const auto& [x, ys] : values_) seeds = std::max(seeds, ys.size());
    Series series{.name = std::move(name), .x = {}, .y = {}, .style = style};
    for (const auto& [x, ys] : values_) {
      if (ys.size() < seeds) continue;
      const auto [mean, deviation] = moments(ys);
      series.x.push_back(x);
      series.y.push_back(mean);
      if (seeds == 1) continue;
      series.low.push_back(mean - deviation);
      series.high.push_back(mean + deviation);
    }
    return series;
  }

  struct Moments {
    double mean = 0, deviation = 0;  // unbiased; 0 of one value
  };
  static Moments moments(const std::vector<double>& values) {
    Moments moments;
    const auto n = static_cast<double>(values.size());
    for (const double value : values) moments.mean += value / n;
    for (const double value : values) moments.deviation += (value - moments.mean) * (value - moments.mean);
    moments.deviation = n > 1 ? std::sqrt(moments.deviation / (n - 1)) : 0;
    return moments;
  }

 private:
  std::map<double, std::vector<double>> values_;
};

}  // namespace noisysgd
