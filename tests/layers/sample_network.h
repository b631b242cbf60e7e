// Networks and a batch for tests of what backward passes collect of single samples.
#pragma once

#include <cstdint>
#include <optional>

#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/test_device.h"

namespace noisysgd::test::single_samples {

inline constexpr int64_t samples = 6, classes = 3;
inline const Shape image{7, 6, 2};

inline const char* const plain = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 5, "kernel": 3, "stride": 2, "padding": 1}, {"type": "relu"},
  {"type": "conv2d", "out_channels": 4, "kernel": 2, "bias": false}, {"type": "relu"}, {"type": "flatten"},
  {"type": "linear", "out_features": 9}, {"type": "relu"}, {"type": "linear", "bias": false}]})";
inline const char* const normalised = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 4, "kernel": 3}, {"type": "batch_norm"}, {"type": "relu"},
  {"type": "flatten"}, {"type": "linear"}]})";

struct Network {
  explicit Network(const char* json, std::optional<int64_t> ghost_size = {})
      : context(test_device, 2),
        model(context, network_from(json, image, classes, ghost_size), classes),
        batch(random_batch(context, image, samples, classes)) {
    uint32_t stream = 20;
    for (const Parameter* parameter : model.parameters())
      copy_from_host<float>(context, random_tensor(parameter->shape.elements(), ++stream, 0.1f, 0.4f),
                            parameter->value);
  }

  Context context;
  Model model;
  Batch batch;
};

}  // namespace noisysgd::test::single_samples
