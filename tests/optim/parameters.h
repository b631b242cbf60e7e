// Two parameters with random values and sums of a batch, as a step finds them.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/config.h"
#include "optim/noise/noise.h"
#include "optim/sgd.h"
#include "tests/random_tensor.h"

namespace noisysgd::test {

struct Parameters {
  explicit Parameters(bool second_moment = true) : arena(context, {&weight, &bias}, second_moment) {
    uint32_t stream = 0;
    for (Parameter* parameter : arena.parameters()) {
      set(parameter->value, ++stream);
      set(parameter->velocity, ++stream);
      set(parameter->gradient_sum, ++stream);
      if (!second_moment) continue;
      // Large enough that the centred variance of `batch` samples is positive.
      for (int64_t i = 0; i < parameter->shape.elements(); ++i) {
        const float sum = parameter->gradient_sum.f32()[i];
        parameter->second_moment.f32()[i] = sum * sum / static_cast<float>(batch) + 0.1f + 0.02f * std::abs(sum);
      }
    }
  }
  const std::vector<Parameter*>& all() const { return arena.parameters(); }

  static constexpr int64_t batch = 32;
  Context context;
  Parameter weight{"layer.weight", {7, 5}};
  Parameter bias{"layer.bias", {7}};
  ParameterArena arena;

 private:
  static void set(const Tensor& tensor, uint32_t stream) {
    const std::vector<float> values = random_tensor(tensor.elements(), stream, 0, 2);
    std::copy(values.begin(), values.end(), tensor.f32());
  }
};

inline Noise noise_from(const std::string& json) {
  Config config(parse_json(json, "test"), "test");
  Noise noise = Noise::read(config.root(), NoiseRegistry::builtin());
  config.finish();
  return noise;
}

// All values of one kind, parameter after parameter.
inline std::vector<float> gather(const std::vector<Parameter*>& parameters, Tensor Parameter::*member) {
  std::vector<float> values;
  for (const Parameter* parameter : parameters) {
    const auto span = (parameter->*member).span<float>();
    values.insert(values.end(), span.begin(), span.end());
  }
  return values;
}

inline std::vector<float> gather(const std::vector<Tensor>& tensors) {
  std::vector<float> values;
  for (const Tensor& tensor : tensors) {
    const auto span = tensor.span<float>();
    values.insert(values.end(), span.begin(), span.end());
  }
  return values;
}

}  // namespace noisysgd::test
