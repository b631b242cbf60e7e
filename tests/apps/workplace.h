// A folder with a configuration, in which noisysgd-train runs.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/apps/command.h"
#include "tests/temporary_folder.h"

namespace noisysgd::test {

inline constexpr const char* small_configuration = R"({
  "name": "small",
  "data": {"type": "synthetic", "train_size": 640, "test_size": 64},
  "model": {"type": "sequential", "layers": [
    {"type": "conv2d", "out_channels": 4, "kernel": 3, "stride": 2}, {"type": "batch_norm"}, {"type": "relu"},
    {"type": "flatten"}, {"type": "linear"}]},
  "batch": {"size": 64, "ghost_size": 32}, "epochs": 3, "optimizer": {"learning_rate": 0.02},
  "noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 0.8}, "logging": {"every_steps": 4}})";

class Workplace {
 public:
  explicit Workplace(const std::string& text = small_configuration) { std::ofstream(folder_ / "small.json") << text; }

  const std::filesystem::path& path() const { return folder_.path(); }
  Command start(std::vector<std::string> arguments, int threads = 1) const {
    arguments.insert(arguments.begin(), "small.json");
    arguments.insert(arguments.end(), {"--threads", std::to_string(threads)});
    return {NSGD_TRAIN_PROGRAM, arguments, path()};
  }
  CommandResult run(const std::vector<std::string>& arguments) const { return start(arguments).wait(); }
  // A shell command in which $TRAIN is the program with the configuration and one thread.
  Command shell(const std::string& line) const {
    const std::string program = std::string("TRAIN='") + NSGD_TRAIN_PROGRAM + " small.json --threads 1'; ";
    return {"/bin/sh", {"-c", program + line}, path()};
  }
  // Until the run in the folder "out" has logged its first line.
  void wait_for_log() const {
    std::error_code absent;
    while (!(std::filesystem::file_size(path() / "out/metrics.jsonl", absent) > 0 && !absent))
      std::this_thread::yield();
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace noisysgd::test
