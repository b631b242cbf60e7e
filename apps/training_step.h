// One step of a run as work for its device: everything is issued, nothing is waited for. What changes from step to step
// is read from the device's memory, and what the run counts stays there (kernels/training_sums.h).
#pragma once

#include <optional>
#include <string>

#include "apps/experiment.h"
#include "core/device_value.h"
#include "core/step_graph.h"
#include "data/loader.h"
#include "kernels/training_sums.h"
#include "optim/weight_average.h"

namespace noisysgd {

struct StepPlan {
  kernels::StepValues values;
  int64_t samples = 0;
  bool noise = false;
  bool norms = false;   // of gradient and noise, into the sums
  bool layers = false;  // the Fisher statistics of every layer, into layer_sums
};

// False under NSGD_GRAPH=0: a device runs every step op by op.
bool graphs_wanted();

class TrainingStep {
 public:
  // All must outlive the step; average may be null. graphs: false issues every step op by op.
  TrainingStep(Context& context, const Regime& regime, uint64_t seed, Model& model, const Loader& data,
               WeightAverage* average, bool graphs);

  // Allocates what steps with noise need.
  void require_noise() { sgd_.require_sums(model_.arena()); }

  // Issues the step, or replays the graph of its kind.
  void run(const StepPlan& plan);
  const StepGraphs::Counts& counts() const { return graphs_.counts(); }
  // Samples of a forward and backward pass, if a whole batch did not fit into the device's memory.
  std::optional<int64_t> chosen_micro_batch() const { return chosen_micro_; }

  // Whether the gradient of such a step holds the noise already, so that its norm is that of both together.
  bool noise_in_gradient(const StepPlan& plan) const;

  DeviceValue<kernels::TrainingSums>& sums() { return sums_; }
  const Tensor& layer_sums() const { return layer_sums_; }          // [layers,2] f64: see layer_fisher
  const Tensor& group_products() const { return group_products_; }  // [layers,2,R,R]: see GroupStatistics::multiply
  // The first layer whose output is not finite for the part of the step at which sums.halted was set; empty if none.
  std::string first_nonfinite_layer(const StepPlan& plan, const kernels::LossSums& halted);

 private:
  NoiseBatch noise_batch(const StepPlan& plan) const;
  StepGraphs::Kind kind(const StepPlan& plan) const;
  int64_t micro_batch(const StepPlan& plan) const;
  int64_t smaller_micro_batch(const StepPlan& plan) const;
  void issue(const StepPlan& plan);
  void accumulate_what_fits(const StepPlan& plan, const NoisePasses& passes);
  BatchPlace place(const StepPlan& plan, int64_t offset) const;
  void accumulate(const StepPlan& plan, const NoisePasses& passes);

  Context& context_;
  const Regime& regime_;
  uint64_t seed_;
  Model& model_;
  const Loader& data_;
  WeightAverage* average_;
  Sgd sgd_;
  DeviceValue<kernels::StepValues> values_;
  DeviceValue<kernels::TrainingSums> sums_;
  Tensor layer_sums_, group_products_;
  StepGraphs graphs_;
  std::optional<int64_t> chosen_micro_;
};

}  // namespace noisysgd
