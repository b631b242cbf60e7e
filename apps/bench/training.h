// Trainings of one network on random data, one for each kind of noise that has a cost of its own: what --steps
// measures.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/step_graph.h"
#include "data/loader.h"
#include "layers/model.h"

namespace noisysgd::bench {

struct Variant {
  std::string name;
  Json noise;
  SecondMoment conv;  // none: the plain step
};

const std::vector<Variant>& all_variants();

// What a training learns from: on the CPU one batch, on a device a data set in its memory.
struct RandomData {
  std::optional<Batch> batch;
  std::unique_ptr<Loader> loader;
};

RandomData random_data(Context& context, const Shape& image, int64_t samples);
// A data set of at least `samples`, on which to time what the trainer does for a batch; crops and flips in colour.
std::unique_ptr<Loader> random_loader(Context& context, const Shape& image, int64_t samples);

class Training {
 public:
  virtual ~Training() = default;
  virtual void step(int64_t samples) = 0;
  virtual void check() = 0;  // throws Error if a loss was not finite; waits for the device
  // Of a device: how its steps were run, and the micro-batch if a whole batch did not fit into the memory.
  virtual StepGraphs::Counts counts() const { return {}; }
  virtual std::optional<int64_t> chosen_micro_batch() const { return {}; }
};

// On the CPU a step is zeroed sums, forward and backward passes over micro-batches and the noisy SGD step. On a device
// it is the trainer's own (apps/training_step.h), which also loads the batch, and is replayed as a graph from the
// second step of its kind on. micro: samples of a pass, or 0 for the whole batch. The data must outlive the training.
std::unique_ptr<Training> make_training(Context& context, const std::string& network, const Variant& variant,
                                        const RandomData& data, int64_t micro);

}  // namespace noisysgd::bench
