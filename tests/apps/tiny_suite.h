// A suite of three regimes and two seeds that trains in moments.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/apps/experiment.h>

namespace noisysgd::test {

inline constexpr const char* tiny_suite = R"({
  "name": "tiny", "seeds": [1, 2], "data": {"train_size": 96, "test_size": 32}, "model": {"type": "mlp", "hidden": [8]},
  "batch": {"size": 32}, "epochs": 2, "optimizer": {"learning_rate": 0.05},
  "regimes": [{"name": "SB", "batch": {"size": 16}, "expect": {"test_accuracy": 93.25}},
              {"name": "LB", "expect": {"test_accuracy": 91.8}}, {"name": "free"}]})";

inline Experiment experiment_with(const std::vector<std::string>& assignments, const char* text = tiny_suite) {
  Json document = parse_config(text, "test");
  for (const std::string& assignment : assignments) apply_override(document, assignment);
  return read_experiment(document, "test", {});
}

}  // namespace noisysgd::test
