// A run as its folder describes it, finished or not. Reads files only; a running program is not disturbed.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <noisysgd/core/json.h>

namespace noisysgd {

// The numbers of the log lines of one kind, as columns. A value that a line lacks or that is not finite is NaN.
struct LogColumns {
  using Key =
      std::pair<std::string, std::string>;  // layer ("" for the whole network), and field: {"conv1", "fisher_trace"}

  std::vector<double> step, epoch;  // epoch: of the line, from 1
  std::vector<std::string> layers;  // in the order of the network
  std::map<Key, std::vector<double>> values;

  size_t lines() const { return step.size(); }
  const std::vector<double>* find(const std::string& field, const std::string& layer = "") const;
};

struct LoggedRun {
  std::filesystem::path folder;
  std::string regime;
  uint64_t seed = 0;
  Json config = {};                                   // effective
  std::optional<Json> summary = {}, divergence = {};  // of a finished and of a diverged run
  LogColumns train = {}, evaluated = {};
  std::string evaluated_set = "test";      // or "holdout"
  std::string last_change = {};            // when the log was last written, "2026-01-31 12:00 UTC"; empty: no log
  std::vector<std::string> problems = {};  // files that cannot be read, and why

  // A number of the summary; NaN if there is none.
  double result(const std::string& key) const;
  // Passes over the training set up to each line of `train`, with fractions. Empty if no epoch has ended.
  std::vector<double> train_epochs() const;
};

std::string utc_text(std::time_t seconds);  // "2026-01-31 12:00 UTC"

// Throws Error if config.json cannot be read. Other files that cannot be read become `problems`. A last line of the log
// without a line end is being written and is left out.
LoggedRun read_logged_run(const std::filesystem::path& folder);

}  // namespace noisysgd
