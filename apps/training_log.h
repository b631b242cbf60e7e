// What a run says of itself: one record becomes a line of metrics.jsonl, scalars for TensorBoard and, of an epoch, a line
// on the terminal.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/training_state.h>
#include <noisysgd/core/json.h>
#include <noisysgd/core/metrics_log.h>
#include <noisysgd/core/tensorboard.h>

namespace noisysgd {

// Of the steps since the latest record.
struct StepRecord {
  int64_t step = 0, epoch = 0;  // from 1
  Meter window;
  double learning_rate = 0;
  double gradient_norm = 0;
  std::optional<double> noise_norm = {};  // none: the gradient's norm is that of both together
  double samples_per_second = 0;
  Json measured = Json::object();  // fields of measurements; numbers among them go to TensorBoard too
};

struct EpochRecord {
  int64_t step = 0, epoch = 0;  // from 1
  std::string evaluated_set;    // "test" or "holdout"
  Meter evaluated, train;
};

class TrainingLog {
 public:
  TrainingLog(std::filesystem::path folder, Progress::Mode mode, std::string title)
      : folder_(std::move(folder)), progress_(mode, std::move(title)) {}

  // Starts empty files; those of a run that was killed before its first checkpoint are gone.
  void begin();
  // Goes on where the state was saved. Throws Error, naming the file, if one of them is shorter.
  void resume(const TrainingState& state);
  // On the disk until here: what the state has to say of the files.
  void save(TrainingState& state);

  void write(const StepRecord& record);
  void write(const EpochRecord& record, const ProgressState& progress);
  void progress(const ProgressState& state) { progress_.step(state); }
  void line(const std::string& text) { progress_.line(text); }

 private:
  std::filesystem::path folder_;
  Progress progress_;
  std::string events_file_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardLog> events_;
};

}  // namespace noisysgd
