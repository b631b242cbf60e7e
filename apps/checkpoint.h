// A training run on disk: one safetensors file, written atomically, with parameters, momentum buffers and running
// statistics under PyTorch's names and layouts, what the noise keeps between steps, and the counters as JSON in its
// metadata, so that no two files can disagree. All its values are finite.
#pragma once

#include <filesystem>

#include "core/json.h"
#include "layers/model.h"
#include "optim/weight_average.h"

namespace noisysgd {

// A value to be saved is not finite: the message names the tensor.
class NonfiniteTensor : public Error {
 public:
  using Error::Error;
};

// average: null if the run keeps none; its tensors stand under "average." and the model's names. Throws NonfiniteTensor
// before anything is written.
void save_checkpoint(const std::filesystem::path& path, const Model& model, const WeightAverage* average,
                     const Json& state);

// Overwrites the model's values, velocities and buffers, and the averages if there are any, and returns the state.
// Throws Error for a tensor that is missing, misshapen or not finite.
Json load_checkpoint(const std::filesystem::path& path, Model& model, WeightAverage* average);

// Values and buffers only: a network to look at.
void load_weights(const std::filesystem::path& path, Model& model);

}  // namespace noisysgd
