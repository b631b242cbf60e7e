// Mean, standard deviation and confidence interval of a few values, such as the results of the seeds of a regime.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <noisysgd/core/json_fwd.h>

namespace noisysgd {

struct Spread {
  double mean = 0, deviation = 0;  // deviation: with divisor n-1; 0 for one value
  size_t count = 0;

  Json json() const;
  // "93.21 ± 0.10": factor times mean and deviation; "" without values, and the mean alone for one value.
  std::string text(double factor, int digits) const;
  std::string loss_text() const;
};

Spread spread_of(std::span<const double> values);

// The quantile of Student's t distribution. probability: in (0.5, 1); degrees: of freedom, from 1.
double student_quantile(double probability, size_t degrees);

// Half the width of the 95 % confidence interval around the mean, by Student's t distribution. Needs two values.
double student_half_width(const Spread& spread);

}  // namespace noisysgd
