// A training run on disk: one safetensors file, written atomically, with everything that lives from step to step
// (core/state.h), parameters under PyTorch's names and layouts, and the counters as JSON in its metadata, so that no two
// files can disagree. All its values are finite.
#pragma once

#include <filesystem>

#include "core/json.h"
#include "optim/step.h"

namespace noisysgd {

// A value to be saved is not finite: the message names the tensor.
class NonfiniteTensor : public Error {
 public:
  using Error::Error;
};

// What the step's visit_state names. Throws NonfiniteTensor before anything is written.
void save_checkpoint(const std::filesystem::path& path, Context& context, const Step& step, const Json& state);

// Overwrites what the step's visit_state names, and returns the state. Throws Error for a tensor that is missing,
// misshapen or not finite.
Json load_checkpoint(const std::filesystem::path& path, Context& context, Step& step);

// Values and buffers only: a network to look at.
void load_weights(const std::filesystem::path& path, Model& model);

}  // namespace noisysgd
