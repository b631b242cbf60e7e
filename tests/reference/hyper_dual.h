// Numbers x + a s + b t + c s t with s^2 = t^2 = 0. A function of theta + v s + w t has its value in `value`, its
// derivatives along v and w in `s` and `t`, and v^T (its Hessian) w in `st`, all exact: no step, no truncation.
#pragma once

#include <cmath>

namespace noisysgd::reference {

struct HyperDual {
  double value = 0, s = 0, t = 0, st = 0;

  HyperDual(double constant = 0) : value(constant) {}
  HyperDual(double value, double s, double t, double st) : value(value), s(s), t(t), st(st) {}

  HyperDual operator+(const HyperDual& o) const { return {value + o.value, s + o.s, t + o.t, st + o.st}; }
  HyperDual operator-(const HyperDual& o) const { return {value - o.value, s - o.s, t - o.t, st - o.st}; }
  HyperDual operator*(const HyperDual& o) const {
    return {value * o.value, value * o.s + s * o.value, value * o.t + t * o.value,
            value * o.st + s * o.t + t * o.s + st * o.value};
  }
  HyperDual& operator+=(const HyperDual& o) { return *this = *this + o; }
  // f of this number, from the value and two derivatives of f.
  HyperDual map(double f, double first, double second) const {
    return {f, first * s, first * t, first * st + second * s * t};
  }
};

inline HyperDual exp(const HyperDual& x) {
  const double e = std::exp(x.value);
  return x.map(e, e, e);
}
inline HyperDual log(const HyperDual& x) { return x.map(std::log(x.value), 1 / x.value, -1 / (x.value * x.value)); }

}  // namespace noisysgd::reference
