// A network that is looked at and not trained: in some state of a run, with the data that its regime trains on and the
// gradients that steps of the regime would have there. Everything is computed in single precision.
#pragma once

#include <algorithm>
#include <vector>

#include <noisysgd/apps/analysis/analysed_runs.h>
#include <noisysgd/optim/step.h>

namespace noisysgd {

class FrozenNetwork {
 public:
  // `runs` must outlive it.
  FrozenNetwork(AnalysedRuns& runs, const Regime& regime);

  // Takes the parameters and buffers of a state of that run.
  void set(uint64_t seed, const RunState& state);

  // Samples of the shuffled and augmented epoch `draw`, from its start on: batches of different draws are independent,
  // each without replacement. Fewer than wanted where a ghost batch would be incomplete.
  Batch batch(int64_t wanted, uint64_t seed, uint32_t draw) const;
  // Samples [begin, begin + count) of the shuffled and augmented epoch 0.
  Batch part_of_epoch(int64_t begin, int64_t count, uint64_t seed) const {
    return train_.shuffled({0, begin, 0}, count, seed);
  }
  int64_t training_images() const { return train_.count(); }

  // Samples of a forward and backward pass of this batch.
  int64_t pass_of(int64_t samples) const { return std::min(samples, regime_.batch.micro.value_or(samples)); }

  Model& model() { return model_; }
  const Regime& regime() const { return regime_; }
  Context& context() { return context_; }
  const Extensions& extensions() const { return extensions_; }
  const TrainingData& data() const { return *data_; }

 private:
  Context& context_;
  const Regime& regime_;
  const Extensions& extensions_;
  std::shared_ptr<const TrainingData> data_;
  Loader train_;
  Model model_;
};

// What steps of the network's regime, with its noise or another one, add up at one place: all vectors are laid out as a
// Block.
class StepGradients {
 public:
  // noise: a configured object; null: that of the regime. The network must outlive it.
  StepGradients(FrozenNetwork& network, uint64_t seed, const Json& noise = {});

  // Noise is drawn from the stream of this step number.
  void take(const Batch& batch, uint32_t number);
  std::vector<float> mean_gradient() const;
  // Zeros where the batch gets no noise.
  std::vector<float> noise();

 private:
  Context& context_;
  Model& model_;
  Noise noise_;
  std::unique_ptr<Optimizer> optimizer_;
  Step step_;
  StepRecipe recipe_;
  uint32_t number_ = 0;
};

}  // namespace noisysgd
