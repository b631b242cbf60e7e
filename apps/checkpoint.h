// A training run on disk: one safetensors file, written atomically, with parameters, momentum buffers and running
// statistics under PyTorch's names and layouts, what the noise keeps between steps, and the counters as JSON in its
// metadata, so that no two files can disagree.
#pragma once

#include <filesystem>

#include "core/json.h"
#include "layers/model.h"

namespace noisysgd {

void save_checkpoint(const std::filesystem::path& path, const Model& model, const Json& state);

// Overwrites the model's values, velocities and buffers and returns the state. Throws Error for a missing or misshapen
// tensor.
Json load_checkpoint(const std::filesystem::path& path, Model& model);

// Values and buffers only: a network to look at.
void load_weights(const std::filesystem::path& path, Model& model);

}  // namespace noisysgd
