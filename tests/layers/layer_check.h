// One layer through the tape against its formula in fp64: value, gradients of input and parameters for a random
// cotangent, and second moments, all accumulated onto random sums. The reference uses only the forward formula;
// derivatives are central differences, and per-sample ones see the cotangent of that sample only.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <noisysgd/layers/layer.h>
#include "tests/compare.h"
#include "tests/layers/collected.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"
#include "tests/test_device.h"

namespace noisysgd::test {

using reference::Vector;

// y of the whole batch from x and the parameters, all in the layer's memory orders.
using Formula = std::function<Vector(const Vector& x, const std::vector<Vector>& parameters)>;

struct LayerCheck {
  int64_t samples = 3;
  SecondMoment kind = SecondMoment::exact;
  double condition = 1;       // of the comparison, see compare.h
  double step = 1e-4;         // of central differences
  std::vector<float> x = {};  // given, or random
};

// Derivatives of y [N,T,C] by one scalar, contracted with the cotangent in the three ways that matter.
struct Contractions {
  double gradient = 0, exact = 0, spatial = 0;
};

inline Contractions contract(const Vector& derivative, const Vector& cotangent, int64_t samples, int64_t channels) {
  Contractions sums;
  const size_t per_sample = derivative.size() / static_cast<size_t>(samples);
  for (size_t begin = 0; begin < derivative.size(); begin += per_sample) {
    double sample = 0;
    for (size_t t = begin; t < begin + per_sample; t += static_cast<size_t>(channels)) {
      double position = 0;
      for (size_t i = t; i < t + static_cast<size_t>(channels); ++i) position += cotangent[i] * derivative[i];
      sample += position;
      sums.spatial += position * position;
    }
    sums.gradient += sample;
    sums.exact += sample * sample;
  }
  return sums;
}

inline Vector derivative_of(const std::function<Vector()>& f, double& scalar, double step) {
  const double center = scalar;
  scalar = center + step;
  Vector derivative = f();
  scalar = center - step;
  const Vector below = f();
  scalar = center;
  for (size_t i = 0; i < derivative.size(); ++i) derivative[i] = (derivative[i] - below[i]) / (2 * step);
  return derivative;
}

// The sums of one parameter after a layer's backward pass, and the expected ones.
inline std::string check_parameter(Context& context, const Parameter& parameter, const Sums& sums, const std::vector<float>& base_sum,
                                   const std::vector<float>& base_square, const std::vector<Contractions>& expected,
                                   SecondMoment kind, Tolerance tolerance) {
  Vector sum(base_sum.begin(), base_sum.end()), square(base_square.begin(), base_square.end());
  // Only filters are shared over positions that the estimators treat differently.
  const bool spatial = kind != SecondMoment::exact && parameter.layout == ParameterLayout::krsc;
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] += expected[i].gradient;
    if (kind != SecondMoment::none) square[i] += spatial ? expected[i].spatial : expected[i].exact;
  }
  if (const auto error = compare(to_host<float>(context, sums.gradient.of(parameter)), sum, tolerance); !error.empty())
    return fmt::format("gradient of {}: {}", parameter.name, error);
  if (const auto error = compare(to_host<float>(context, sums.second_moment.of(parameter)), square, tolerance); !error.empty())
    return fmt::format("second moment of {}: {}", parameter.name, error);
  return "";
}

// Empty if all agrees.
inline std::string check_layer(Layer& layer, const Formula& formula, LayerCheck options = {}) {
  Context context(test_device);
  const ParameterSet set(context, layer.parameters());
  const Sums sums = all_sums(context, set);
  bind_buffers(context, layer.buffers());
  std::vector<std::vector<float>> base_sums, base_squares;
  std::vector<Vector> parameters;
  uint32_t stream = 100;
  for (Parameter* parameter : set.list()) {
    const int64_t n = parameter->shape.elements();
    const auto put = [&](const Tensor& tensor, const std::vector<float>& values) {
      copy_from_host<float>(context, values, tensor);
      return values;
    };
    parameters.push_back(to_double(put(parameter->value, random_tensor(n, ++stream))));
    base_sums.push_back(put(sums.gradient.of(*parameter), random_tensor(n, ++stream)));
    base_squares.push_back(put(sums.second_moment.of(*parameter), random_tensor(n, ++stream, 1)));
  }
  const Shape in = layer.input_shape().batched(options.samples), out = layer.output_shape().batched(options.samples);
  const std::vector<float> x = options.x.empty() ? random_tensor(in.elements(), 1) : options.x;
  const std::vector<float> cotangent = random_tensor(out.elements(), 2);

  Tape tape;
  const Variable input = tape.leaf(from_host(context, in, x));
  const Variable output = layer.forward({context, &tape, true}, input);
  const std::vector<float> y = to_host<float>(context, output.value);
  tape.backward(context, output, from_host(context, out, cotangent), {.statistics = {.second_moment = options.kind}, .into = sums});

  Vector x64 = to_double(x);
  const Vector cotangent64 = to_double(cotangent);
  const auto f = [&] { return formula(x64, parameters); };
  const Tolerance tolerance{static_cast<double>(in.elements() + out.elements()), options.condition};
  if (to_host<float>(context, input.value) != x) return "the input was overwritten while others hold it";
  if (const auto error = compare(y, f(), tolerance); !error.empty()) return "value: " + error;

  const int64_t channels = layer.output_shape()[-1];
  Vector grad_x;
  for (double& scalar : x64)
    grad_x.push_back(contract(derivative_of(f, scalar, options.step), cotangent64, options.samples, channels).gradient);
  if (const auto error = compare(to_host<float>(context, tape.gradient(input)), grad_x, tolerance); !error.empty())
    return "gradient of the input: " + error;

  for (size_t p = 0; p < parameters.size(); ++p) {
    std::vector<Contractions> expected;
    for (double& scalar : parameters[p])
      expected.push_back(contract(derivative_of(f, scalar, options.step), cotangent64, options.samples, channels));
    const auto error = check_parameter(context, *set.list()[p], sums, base_sums[p], base_squares[p], expected,
                                       options.kind, tolerance);
    if (!error.empty()) return error;
  }
  return "";
}

}  // namespace noisysgd::test
