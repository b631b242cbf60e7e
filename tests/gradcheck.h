// Numerical gradients in fp64: the judge of every backward op.
#pragma once

#include <cstddef>
#include <vector>

namespace noisysgd::test {

// d f / d x by central differences. With f a smooth function of moderate curvature the error is about 1e-9, far below
// fp32's rounding; a piecewise linear f must have no kink within `step` of x.
template <class Function>
std::vector<double> central_differences(const Function& f, std::vector<double> x, double step = 1e-5) {
  std::vector<double> gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double center = x[i];
    x[i] = center + step;
    const double above = f(x);
    x[i] = center - step;
    const double below = f(x);
    x[i] = center;
    gradient[i] = (above - below) / (2 * step);
  }
  return gradient;
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace noisysgd::test
