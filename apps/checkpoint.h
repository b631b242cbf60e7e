// A training run on disk: one safetensors file, written atomically. It holds every tensor that lives from step to
// step (core/state.h), with parameters under PyTorch's names and in its layouts. Its metadata holds, as JSON, the
// identity of the run (apps/run_folder.h) and the counters, so no second file can disagree with it. All its values are finite.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/core/safetensors.h>
#include <noisysgd/optim/step.h>

namespace noisysgd {

// A value to be saved is not finite: the message names the tensor.
class NonfiniteTensor : public Error {
 public:
  using Error::Error;
};

// Saves what the step's visit_state names. Throws NonfiniteTensor before anything is written.
void save_checkpoint(const std::filesystem::path& path, Context& context, const Step& step, const Json& identity,
                     const Json& state);

// Reads a saved checkpoint. Errors name the file.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& path) : file_(path) {}

  std::optional<Json> identity() const;  // none: written by a version that stored none
  Json state() const;
  // Overwrites what the step's visit_state names. Throws Error for a tensor that is missing, has a wrong shape, is not
  // finite, or is unknown to the step.
  void load(Context& context, Step& step) const;

 private:
  std::optional<Json> metadata(const std::string& key) const;

  SafetensorsFile file_;
};

// Loads parameters and buffers only, for inspecting a network.
void load_weights(const std::filesystem::path& path, Model& model);

}  // namespace noisysgd
