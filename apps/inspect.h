// Computes one batch of a configured run without an update, and writes everything that another framework needs to check
// it, as safetensors with PyTorch's names and layouts. Tensors: input.images [N,C,H,W], input.labels [N] i64, logits
// [N,K], logits.evaluation [N,K] (with running statistics, without dropout), loss (mean over the batch), param.NAME,
// grad.NAME (mean, without weight decay), fisher_diag.NAME, noise.k.NAME (draw k), and fisher.labels if they are
// sampled. The metadata states the estimator, the noise, seed and version, and under "graph" the network as data
// (layers/graph.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

struct InspectOptions {
  std::string regime;                               // empty: the first
  std::optional<uint64_t> seed;                     // none: the first of the configuration
  std::optional<std::filesystem::path> checkpoint;  // none: initial parameters
  std::optional<int64_t> batch;                     // none: batch.size of the regime, or all images if there are fewer
  int64_t noise_draws = 0;
  std::filesystem::path output = "inspect.safetensors";
};

// Uses positions [0, batch) of the shuffled first epoch, augmented as in training, and writes options.output. Returns a
// summary to print. Throws Error.
std::string inspect(const Experiment& experiment, const Extensions& extensions, const InspectOptions& options);

}  // namespace noisysgd
