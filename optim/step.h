// One training step as work for its device: everything is issued, nothing is waited for. What a step does is decided
// once, as a recipe; what changes between steps of one recipe is read from the device's memory, and what a run counts
// stays there (kernels/training_sums.h). Trainer, inspect, pictures, benchmark and tests take this step.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <noisysgd/core/device_value.h>
#include <noisysgd/core/step_graph.h>
#include <noisysgd/kernels/training_sums.h>
#include <noisysgd/layers/model.h>
#include <noisysgd/optim/measurement.h>
#include <noisysgd/optim/noise/noise.h>
#include <noisysgd/optim/optimizer.h>
#include <noisysgd/optim/weight_average.h>

namespace noisysgd {

// The step's numbers in device memory; their values on the host are hidden while a step is issued (kernels/number.h).
struct StepNumbers {
  StepNumber step = 0, epoch = 0;
  Number<int64_t> first_sample = 0;
  Number<float> learning_rate = 0;
};

// Samples [begin, begin + count) of the step's batch.
using BatchSource = std::function<Batch(const StepNumbers& numbers, int64_t begin, int64_t count)>;

struct StepOptions {
  FisherOptions fisher = {};
  std::optional<double> clip_norm = {};
  std::optional<int64_t> micro = {};  // samples of a forward and backward pass; none: the whole batch, or what fits
  int64_t granularity = 1;            // chosen micro-batches are multiples of it
  Measurements measurements = {};     // of logged steps; each belongs to one Step
  uint64_t seed = 1;
  bool keep_gradient = false;  // the gradient sums stay those of unweighted samples, as draw_noise needs them
  bool graphs = true;          // false: every step is issued op by op
};

// What a step is to do, as its schedule sees it.
struct StepRequest {
  kernels::StepValues values = {};
  int64_t samples = 0;
  bool noise = false;
  bool logged = false;  // norms of gradient and noise into the sums, and the measurements
};

// What a step does: all that decides which ops are issued. Equal recipes issue the same ops.
struct StepRecipe {
  auto operator<=>(const StepRecipe&) const = default;

  int64_t samples = 0;
  int64_t micro_batch = 0;     // samples of a forward and backward pass
  int64_t squared_passes = 0;  // above 0: passes of so many samples, whose gradients are squared one by one
  int64_t pass_samples() const { return squared_passes > 0 ? squared_passes : micro_batch; }
  Statistics collect = {};     // at the labels of the Fisher matrix
  NoisePlan noise = {};
  bool norms = false, measured = false;
};

// Where the values of a whole batch go; undefined: nowhere.
struct StepOutputs {
  Tensor logits = {};          // [M,K]
  Tensor sampled_labels = {};  // [M] i32, where the Fisher matrix has such labels
};

// False under NSGD_GRAPH=0: a device runs every step op by op.
bool graphs_wanted();

class Step {
 public:
  // All must outlive the step; average may be null. Begins the optimizer. Throws Error if two of them give one name to
  // tensors of their state.
  Step(Context& context, Model& model, Noise& noise, Optimizer& optimizer, WeightAverage* average,
       const StepOptions& options);

  // Of a run whose steps may have noise: begins it, and allocates what they collect.
  void begin_noise();

  // Throws Error for noise that the batch or the loss cannot have.
  StepRecipe recipe(const StepRequest& request) const;
  // Issues the step, or replays the graph of its recipe.
  void run(const StepRequest& request, const BatchSource& source);

  // The parts of a step, for whoever looks at one. Adds the passes over the batch to cleared sums.
  void accumulate(const StepRecipe& recipe, const BatchSource& source, const StepNumbers& numbers,
                  const StepOutputs& outputs = {}, std::optional<StepNumber> noise_step = {});
  // draws[i] of parameters()[i]: what the optimizer would add to the mean gradient. Nothing is updated.
  std::vector<Tensor> draw_noise(const StepRecipe& recipe, StepNumber step);

  const Sums& sums() const { return sums_; }
  Sums& sums() { return sums_; }
  const StepCounts& counts() const { return graphs_.counts(); }
  // Samples of a forward and backward pass, if a whole batch did not fit into the device's memory.
  std::optional<int64_t> chosen_micro_batch() const { return chosen_micro_; }

  DeviceValue<kernels::TrainingSums>& training_sums() { return training_sums_; }
  const Measurements& measurements() const { return options_.measurements; }
  // The first layer whose output is not finite for the part of the step at which `halted` was set; empty if none.
  std::string first_nonfinite_layer(const StepRequest& request, const BatchSource& source,
                                    const kernels::LossSums& halted);

  // Model, optimizer, noise and average.
  void visit_state(StateVisitor& visitor) const;

 private:
  void check_names() const;
  StepNumbers numbers(const StepRequest& request) const;
  int64_t micro_batch(int64_t samples) const;
  int64_t smaller_micro_batch(int64_t samples) const;
  void issue(const StepRecipe& recipe, const BatchSource& source, const StepNumbers& numbers);
  void accumulate_what_fits(StepRecipe recipe, const BatchSource& source, const StepNumbers& numbers, bool first);
  Number<double> clip_factor(int64_t samples, std::vector<Tensor>& kept) const;

  Context& context_;
  Model& model_;
  Noise& noise_;
  Optimizer& optimizer_;
  WeightAverage* average_;
  StepOptions options_;
  Sums sums_;
  Block pass_gradient_;  // of passes whose gradients are squared one by one
  DeviceValue<kernels::StepValues> values_;
  DeviceValue<kernels::TrainingSums> training_sums_;
  StepGraphs<StepRecipe> graphs_;
  std::optional<int64_t> chosen_micro_;
};

}  // namespace noisysgd
