// A training run on disk: one safetensors file, written atomically, with everything that lives from step to step
// (core/state.h), parameters under PyTorch's names and layouts, and in its metadata, as JSON, which run it is of
// (apps/run_folder.h) and the counters, so that no two files can disagree. All its values are finite.
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

// What the step's visit_state names. Throws NonfiniteTensor before anything is written.
void save_checkpoint(const std::filesystem::path& path, Context& context, const Step& step, const Json& identity,
                     const Json& state);

// One that was saved. Errors name the file.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& path) : file_(path) {}

  std::optional<Json> identity() const;  // none: from a version that wrote none
  Json state() const;
  // Overwrites what the step's visit_state names. Throws Error for a tensor that is missing, misshapen or not finite, and
  // for one that the step does not have.
  void load(Context& context, Step& step) const;

 private:
  std::optional<Json> metadata(const std::string& key) const;

  SafetensorsFile file_;
};

// Values and buffers only: a network to look at.
void load_weights(const std::filesystem::path& path, Model& model);

}  // namespace noisysgd
