// A training run on disk: one safetensors file, written atomically, with parameters, momentum buffers and running
// statistics under PyTorch's names and layouts, what the noise keeps between steps, and the counters as JSON in its
// metadata, so that no two files can disagree.
#pragma once

#include <filesystem>

#include "core/json.h"
#include "layers/model.h"
#include "optim/weight_average.h"

namespace noisysgd {

// average: null if the run keeps none; its tensors stand under "average." and the model's names.
void save_checkpoint(const std::filesystem::path& path, const Model& model, const WeightAverage* average,
                     const Json& state);

// Overwrites the model's values, velocities and buffers, and the averages if there are any, and returns the state.
// Throws Error for a missing or misshapen tensor.
Json load_checkpoint(const std::filesystem::path& path, Model& model, WeightAverage* average);

// Values and buffers only: a network to look at.
void load_weights(const std::filesystem::path& path, Model& model);

}  // namespace noisysgd
