// Evaluates the network in a checkpoint, which needs no other file than its data (apps/checkpoint.h), or weights
// without metadata by a configuration of their network.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/eval/scores.h>
#include <noisysgd/apps/experiment.h>

namespace noisysgd {

struct EvaluationRequest {
  std::filesystem::path source;          // a checkpoint, weights, or the folder of a run: its last checkpoint
  std::string data;                      // another data set, as "data" of a configuration or its type; empty: the run's
  std::vector<std::string> assignments;  // path=value of "data", "evaluation" or "precision"
  std::optional<SavedWeights> weights;   // none: those that the run evaluates
  std::string device = "auto";
  int threads = 0;
  std::string config = {};  // of weights that do not say which network they are of
  bool keeps_logits = false;
};

struct Evaluation {
  std::filesystem::path checkpoint;
  bool of_run = true;  // false: weights without metadata, which have no regime, seed and step
  std::string regime;  // may be empty
  uint64_t seed = 0;
  int64_t step = 0;
  SavedWeights weights = SavedWeights::last;
  std::string images;  // "mnist test images"
  std::string set;     // "test" or "holdout"
  std::vector<std::string> class_names;
  bool probabilities = true;  // false: the loss defines none, and Scores' mean nothing
  double loss = 0;            // mean
  Scores scores{0};
  std::vector<float> logits = {};  // [images,classes] if the request keeps them
};

// The images are those that the run was evaluated on, or those of another data set with the same shape and classes,
// and are normalised as in training. Throws Error for a file that is damaged or no checkpoint, for data that differ,
// and for a loss that is not finite.
Evaluation evaluate_checkpoint(const EvaluationRequest& request, const Extensions& extensions);

}  // namespace noisysgd
