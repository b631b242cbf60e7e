// The log of a run. A record becomes a line of metrics.jsonl, scalars for TensorBoard and, for an epoch, a line on the
// terminal.
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

// The steps since the previous record.
struct StepRecord {
  int64_t step = 0, epoch = 0;  // from 1
  Meter window;
  double learning_rate = 0;
  double gradient_norm = 0;
  std::optional<double> noise_norm = {};  // none: gradient_norm includes the noise
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

  // Starts empty files, and removes those of a run that was killed before its first checkpoint.
  void begin();
  // Continues the files at the sizes in `state`. Throws Error that names the file if one is shorter.
  void resume(const TrainingState& state);
  // Writes the files to disk, and their names and sizes to `state`.
  void save(TrainingState& state);

  void write(const StepRecord& record);
  void write(const EpochRecord& record, const ProgressState& progress);
  void progress(const std::function<ProgressState()>& state) { progress_.step(state); }
  void line(const std::string& text) { progress_.line(text); }

 private:
  std::filesystem::path folder_;
  Progress progress_;
  std::string events_file_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardLog> events_;
};

}  // namespace noisysgd
