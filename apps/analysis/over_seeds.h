// Means over seeds with their standard deviation, as figures show them.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <noisysgd/apps/analysis/figure.h>
#include <noisysgd/apps/spread.h>

namespace noisysgd {

// Values at points of an axis, one for each seed that has a value there.
class OverSeeds {
 public:
  void add(double x, double y) { values_[x].push_back(y); }
  bool empty() const { return values_.empty(); }

  // With a band of one standard deviation around the mean if there are several seeds. Points that some seeds have not
  // reached are left out: a line has the same seeds everywhere.
  Series series(std::string name, SeriesStyle style = SeriesStyle::line) const {
    size_t seeds = 0;
    for (const auto& [x, ys] : values_) seeds = std::max(seeds, ys.size());
    Series series{.name = std::move(name), .x = {}, .y = {}, .style = style};
    for (const auto& [x, ys] : values_) {
      if (ys.size() < seeds) continue;
      const Spread spread = spread_of(ys);
      series.x.push_back(x);
      series.y.push_back(spread.mean);
      if (seeds == 1) continue;
      series.low.push_back(spread.mean - spread.deviation);
      series.high.push_back(spread.mean + spread.deviation);
    }
    return series;
  }

 private:
  std::map<double, std::vector<double>> values_;
};

}  // namespace noisysgd
