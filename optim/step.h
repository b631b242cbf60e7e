// One training step: issues all ops and does not wait for the device. A recipe determines the ops of a step. Values
// that change between steps of one recipe are read from device memory, and the sums of a run stay there
// (kernels/training_sums.h). Used by the trainer, inspect, pictures, the benchmark and tests.
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

// Numbers of the step in device memory. Their host values are hidden while a step is issued (kernels/number.h).
struct StepNumbers {
  StepNumber step = 0, epoch = 0;
  Number<int64_t> first_sample = 0;
  Number<float> learning_rate = 0;
};

// Returns samples [begin, begin + count) of the step's batch.
using BatchSource = std::function<Batch(const StepNumbers& numbers, int64_t begin, int64_t count)>;

struct StepOptions {
  FisherOptions fisher = {};
  std::optional<double> clip_norm = {};
  std::optional<int64_t> micro = {};  // samples per forward and backward pass; none: the whole batch, or what fits
  int64_t granularity = 1;            // automatically chosen micro-batches are multiples of it
  Measurements measurements = {};     // of logged steps; each belongs to one Step
  uint64_t seed = 1;
  bool keep_gradient = false;  // true: gradient sums are of unweighted samples, which draw_noise needs
  bool graphs = true;          // false: every step is issued op by op
};

// The request for one step, which a recipe turns into ops.
struct StepRequest {
  kernels::StepValues values = {};
  int64_t samples = 0;
  bool noise = false;
  bool logged = false;  // norms of gradient and noise into the sums, and the measurements
};

// Everything that determines the ops of a step. Equal recipes issue the same ops.
struct StepRecipe {
  auto operator<=>(const StepRecipe&) const = default;

  int64_t samples = 0;
  int64_t micro_batch = 0;           // samples per forward and backward pass
  int64_t squared_pass_samples = 0;  // above 0: samples per pass instead, and the gradient of each pass is squared
  int64_t pass_samples() const { return squared_pass_samples > 0 ? squared_pass_samples : micro_batch; }
  Statistics collect = {};  // at the labels of the Fisher matrix
  NoisePlan noise = {};
  bool norms = false, measured = false;
};

// Optional outputs for the whole batch; undefined: not written.
struct StepOutputs {
  Tensor logits = {};          // [M,K]
  Tensor sampled_labels = {};  // [M] i32, if the Fisher matrix uses sampled labels
};

// False if NSGD_GRAPH=0 is set in the environment: every step is then issued op by op.
bool graphs_wanted();

class Step {
 public:
  // All arguments must outlive the step; average may be null. Begins the optimizer. Throws Error if two tensors of
  // their state have the same name.
  Step(Context& context, Model& model, Noise& noise, Optimizer& optimizer, WeightAverage* average,
       const StepOptions& options);

  // For a run with noise: begins the noise and allocates the sums that it needs.
  void begin_noise();

  // Throws Error if the batch or the loss does not support the noise.
  StepRecipe recipe(const StepRequest& request) const;
  // Issues the step, or replays the graph of its recipe.
  void run(const StepRequest& request, const BatchSource& source);

  // Parts of a step, for inspection. Clears the sums and adds the passes over the batch to them.
  void accumulate(const StepRecipe& recipe, const BatchSource& source, const StepNumbers& numbers,
                  const StepOutputs& outputs = {}, std::optional<StepNumber> noise_step = {});
  // draws[i] for parameters()[i]: the noise that the optimizer would add to the mean gradient. No parameter is updated.
  std::vector<Tensor> draw_noise(const StepRecipe& recipe, StepNumber step);

  const Sums& sums() const { return sums_; }
  Sums& sums() { return sums_; }
  const StepCounts& counts() const { return graphs_.counts(); }
  // The automatically chosen micro-batch, if a whole batch did not fit into device memory.
  std::optional<int64_t> chosen_micro_batch() const { return chosen_micro_; }

  DeviceValue<kernels::TrainingSums>& training_sums() { return training_sums_; }
  const Measurements& measurements() const { return options_.measurements; }
  // The first layer with a non-finite output in the pass of the step that `halted` describes; empty if there is none.
  std::string first_nonfinite_layer(const StepRequest& request, const BatchSource& source,
                                    const kernels::LossSums& halted);

  // Visits the state of model, optimizer, noise and average.
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
  Block pass_gradient_;  // of one pass, if the gradient of each pass is squared
  DeviceValue<kernels::StepValues> values_;
  DeviceValue<kernels::TrainingSums> training_sums_;
  StepGraphs<StepRecipe> graphs_;
  std::optional<int64_t> chosen_micro_;
};

}  // namespace noisysgd
