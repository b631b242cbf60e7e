// A training run on disk: one safetensors file, written atomically. It holds every tensor that lives from step to
// step (core/state.h), with parameters under PyTorch's names and in its layouts. Its metadata holds, as JSON, the
// identity of the run (apps/run_folder.h: regime, seed and effective configuration), what it was trained on
// (apps/data_description.h) and the counters, so no second file can disagree with it. All its values are finite.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>

#include <noisysgd/apps/data_description.h>
#include <noisysgd/core/json.h>
#include <noisysgd/core/safetensors.h>
#include <noisysgd/optim/step.h>

namespace noisysgd {

// A value to be saved is not finite: the message names the tensor.
class NonfiniteTensor : public Error {
 public:
  using Error::Error;
};

// The metadata of a checkpoint.
struct CheckpointRecord {
  Json identity, data, state, environment;  // DataDescription::json, TrainingState::json, describe_environment
};

// Saves what the step's visit_state names. Throws NonfiniteTensor before anything is written.
void save_checkpoint(const std::filesystem::path& path, Context& context, const Step& step,
                     const CheckpointRecord& record);

// Copies a checkpoint with another identity; `to` may be `from`. Nothing else of it changes.
void copy_checkpoint(const std::filesystem::path& from, const std::filesystem::path& to, const Json& identity);

// The weights and running statistics in a checkpoint: the latest ones, or their moving average
// (optim/weight_average.h).
enum class SavedWeights { last, average };

// Saves parameters and buffers only; Checkpoint::load reads them into a model. Throws as save_checkpoint.
void save_weights(const std::filesystem::path& path, const Model& model);

// Reads a saved checkpoint. Errors name the file.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& path) : file_(path) {}

  std::optional<Json> identity() const;         // none: written by a version that stored none
  std::optional<DataDescription> data() const;  // the same
  Json state() const;
  int64_t steps(int64_t most = std::numeric_limits<int64_t>::max()) const;  // done; throws Error for more than `most`
  // Overwrites what the step's visit_state names. Throws Error for a tensor that is missing, has a wrong shape, is not
  // finite, or is unknown to the step.
  void load(Context& context, Step& step) const;
  // Overwrites parameters and buffers only, for looking at a network. Throws as load, but unknown tensors may be there.
  void load(Model& model, SavedWeights weights) const;
  bool holds(SavedWeights weights) const;
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  std::optional<Json> metadata(const std::string& key) const;

  SafetensorsFile file_;
};

}  // namespace noisysgd
