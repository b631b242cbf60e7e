#include <noisysgd/apps/training_state.h>

#include <fmt/format.h>

#include <algorithm>

#include <noisysgd/apps/record.h>
#include <noisysgd/core/tensorboard.h>

namespace noisysgd {

namespace {

Json json_of(const Meter& meter) {
  return {{"loss", meter.loss}, {"correct", meter.correct}, {"samples", meter.samples}};
}

Meter meter_from(const Record& state, const std::string& key, int64_t samples) {
  try {
    const Record record(state.at(key));
    record.has_only_keys_of(json_of({}));
    record.equals("samples", samples);
    return {record.number("loss", 0), record.whole("correct", 0, samples), samples};
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", key, error.what()));
  }
}

}  // namespace

Json TrainingState::json() const {
  return {{"step", step},
          {"epoch_sums", json_of(epoch)},
          {"window_sums", json_of(window)},
          {"last_epoch_sums", json_of(last_epoch)},
          {"test_loss", test_loss},
          {"test_accuracy", test_accuracy},
          {"best_accuracy", best_accuracy},
          {"best_epoch", best_epoch},
          {"seconds", seconds},
          {"metrics_bytes", metrics_bytes},
          {"events_file", events_file},
          {"events_bytes", events_bytes}};
}

TrainingState TrainingState::from(const Json& json, const StateLimits& limits) {
  const Record record(json);
  TrainingState state;
  record.has_only_keys_of(state.json());
  state.step = record.whole("step", 0, limits.steps);
  const Counts counts = limits.counts(state.step);
  state.epoch = meter_from(record, "epoch_sums", counts.epoch);
  state.window = meter_from(record, "window_sums", counts.window);
  state.last_epoch = meter_from(record, "last_epoch_sums", counts.last_epoch);
  state.test_loss = record.number("test_loss", 0);
  state.test_accuracy = record.number("test_accuracy", 0, counts.epochs > 0 ? 1 : 0);
  state.best_accuracy = record.number("best_accuracy", state.test_accuracy, counts.epochs > 0 ? 1 : 0);
  state.best_epoch = record.whole("best_epoch", 0, counts.epochs);
  state.seconds = record.number("seconds", 0);
  state.metrics_bytes = static_cast<uint64_t>(record.whole("metrics_bytes", 0));
  state.events_file = record.text("events_file");
  NSGD_CHECK(is_events_name(state.events_file),
             "\"events_file\" is not the name of a TensorBoard log, and no other file may be written");
  state.events_bytes = static_cast<uint64_t>(record.whole("events_bytes", 1));
  return state;
}

}  // namespace noisysgd
