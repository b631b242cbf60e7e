// Trainings of one network on random data, one for each kind of noise that has its own cost. --steps measures them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <noisysgd/core/json.h>
#include <noisysgd/data/loader.h>
#include <noisysgd/optim/sgd.h>
#include <noisysgd/optim/step.h>

namespace noisysgd::bench {

struct Variant {
  std::string name;
  Json noise;
  SecondMoment conv;  // none: the plain step
};

const std::vector<Variant>& all_variants();

// A data set of at least `samples` meaningless images. Colour images are cropped and flipped.
Loader random_loader(Context& context, const Shape& image, int64_t samples);

// Runs the trainer's steps (optim/step.h): load, forward and backward passes over micro-batches, noisy SGD step. A
// device replays them as a graph from the second step of a kind on. micro: samples per pass, or 0 for the whole batch.
// The loader must outlive the training.
class Training {
 public:
  Training(Context& context, const std::string& network, const Variant& variant, const Loader& loader, int64_t micro);
  void step(int64_t samples);
  void check();  // throws Error if a loss was not finite; waits for the device
  StepCounts counts() const { return step_.counts(); }
  // Set if a whole batch did not fit into the device's memory.
  std::optional<int64_t> chosen_micro_batch() const { return step_.chosen_micro_batch(); }

 private:
  Model model_;
  Noise noise_;
  Sgd sgd_;
  Step step_;
  BatchSource source_;
  uint32_t number_ = 0;  // of the next step; each step is also an epoch
};

}  // namespace noisysgd::bench
