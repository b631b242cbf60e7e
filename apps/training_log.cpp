#include <noisysgd/apps/training_log.h>

#include <noisysgd/apps/run_folder.h>

namespace noisysgd {

void TrainingLog::begin() {
  metrics_.emplace(folder_ / metrics_file);
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    if (is_events_name(entry.path().filename().string())) std::filesystem::remove(entry.path());
  events_file_ = new_events_path(folder_).filename().string();
  events_.emplace(folder_ / events_file_);
}

void TrainingLog::resume(const TrainingState& state) {
  metrics_.emplace(folder_ / metrics_file, state.metrics_bytes);
  events_file_ = state.events_file;
  events_.emplace(folder_ / events_file_, state.events_bytes);
}

void TrainingLog::save(TrainingState& state) {
  metrics_->sync();
  events_->sync();
  state.metrics_bytes = metrics_->size();
  state.events_file = events_file_;
  state.events_bytes = events_->size();
}

void TrainingLog::write(const StepRecord& record) {
  const double loss = record.window.mean_loss(), accuracy = record.window.accuracy();
  Json json{{"step", record.step},
            {"epoch", record.epoch},
            {"split", "train"},
            {"loss", loss},
            {"accuracy", accuracy},
            {"learning_rate", record.learning_rate},
            {"gradient_norm", record.gradient_norm},
            {"noise_norm", record.noise_norm ? Json(*record.noise_norm) : Json()},
            {"samples_per_second", record.samples_per_second}};
  json.update(record.measured);
  metrics_->write(json);
  std::vector<Scalar> scalars{{"train/loss", loss},
                              {"train/accuracy", accuracy},
                              {"train/learning_rate", record.learning_rate},
                              {"train/gradient_norm", record.gradient_norm}};
  if (record.noise_norm) scalars.push_back({"train/noise_norm", *record.noise_norm});
  for (const auto& [key, value] : record.measured.items())
    if (value.is_number()) scalars.push_back({"train/" + key, value.get<double>()});
  events_->write(record.step, scalars);
}

void TrainingLog::write(const EpochRecord& record, const ProgressState& progress) {
  const double loss = record.evaluated.mean_loss(), accuracy = record.evaluated.accuracy();
  metrics_->write({{"step", record.step},
                   {"epoch", record.epoch},
                   {"split", record.evaluated_set},
                   {"loss", loss},
                   {"accuracy", accuracy},
                   {"train_loss", record.train.mean_loss()},
                   {"train_accuracy", record.train.accuracy()}});
  events_->write(record.step, std::vector<Scalar>{{record.evaluated_set + "/loss", loss},
                                                  {record.evaluated_set + "/accuracy", accuracy}});
  progress_.epoch(progress, record.evaluated_set, loss, accuracy);
}

}  // namespace noisysgd
