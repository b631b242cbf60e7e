// Writes folders of runs, suites and analyses as the programs do, with any content.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>

namespace noisysgd::test {

inline void write_json(const std::filesystem::path& path, const Json& json) {
  make_folder(path.parent_path());
  write_file_atomically(path, json.dump(1) + "\n");
}

inline void write_run(const std::filesystem::path& folder, const std::string& regime, uint64_t seed,
                      const Json& config = {{"epochs", 2}, {"batch", {{"size", 32}}}}) {
  write_json(folder / "config.json", {{"regime", regime}, {"seed", seed}, {"config", config}});
}

inline Json summary_with(double accuracy) {
  return {{"test_accuracy", accuracy},
          {"best_test_accuracy", accuracy},
          {"test_loss", 2 * accuracy},
          {"train_loss", 0.5},
          {"train_accuracy", 0.75},
          {"seconds", 61.0},
          {"peak_memory_bytes", 3 << 20},
          {"device", "a processor"},
          {"precision", "fp32"},
          {"threads", 2},
          {"version", "7.8.9"}};
}

// Epochs of `steps` log lines each, and the line of the evaluation after each. Ends as a log that is being written.
inline std::string log_of(int epochs, int steps, const std::string& unfinished = "") {
  std::string log;
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    for (int i = 1; i <= steps; ++i) {
      const int step = (epoch - 1) * steps + i;
      log += Json{{"step", step},         {"epoch", epoch},        {"split", "train"},
                  {"loss", 1.0 / step},   {"accuracy", 0.5},       {"learning_rate", 0.125},
                  {"gradient_norm", 2.0}, {"noise_norm", nullptr}, {"layers", {{"conv<1>", {{"variance_ratio", 1.5}}}}}}
                 .dump() +
             "\n";
    }
    log +=
        Json{{"step", epoch * steps}, {"epoch", epoch}, {"split", "test"}, {"loss", 0.25}, {"accuracy", 0.875}}.dump() +
        "\n";
  }
  return log + unfinished;
}

}  // namespace noisysgd::test
