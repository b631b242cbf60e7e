// The interface of an optimizer: updates the parameters from the mean gradient and its noise in one fused pass, and
// owns its state between steps.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include <noisysgd/core/registry.h>
#include <noisysgd/core/state.h>
#include <noisysgd/kernels/noise_field.h>

namespace noisysgd {

struct OptimizerStep {
  const Block& gradient;                                 // sum_n g_n over `batch` samples
  std::span<const kernels::NoiseField> noise;            // of each parameter; empty: none
  int64_t batch = 0;
  Number<float> learning_rate = 0;                       // with the schedule's factor
  Number<double> gradient_factor = 1.0;                  // of clipping: multiplies the mean gradient, not `norms`
  bool noise_after_momentum = false;                     // true: noise does not enter the optimizer's momentum
  uint64_t seed = 0;
  StepNumber step = 0;
  Number<uint32_t> halted = 0;                           // if not 0, the step changes nothing
  kernels::StepNorms* norms = nullptr;                   // device pointer, added to; null: not computed
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Allocates its state for a run, with zeros. The parameters must outlive it.
  virtual void begin(Context& context, const ParameterSet& parameters) = 0;
  // Updates ParameterSet::trained().
  virtual void step(const OptimizerStep& step) = 0;
  // Names the tensors that it keeps from step to step: they are saved in checkpoints and restored.
  virtual void visit_state(StateVisitor& visitor) const = 0;
};

// Options of all optimizers.
struct OptimizerOptions {
  std::string type = "sgd";
  double learning_rate = 0.1;
};

using OptimizerBuilder = std::function<std::unique_ptr<Optimizer>(const ConfigReader& json)>;

struct OptimizerEntry {
  OptimizerBuilder builder;
  double learning_rate = 0.1;  // the default of optimizer.learning_rate
};

class OptimizerRegistry : public Registry<OptimizerEntry> {
 public:
  OptimizerRegistry() : Registry("an optimizer") {}
  static OptimizerRegistry builtin();
  // Reads "type" and the options of all optimizers.
  OptimizerOptions read(const ConfigReader& json) const;
  // Builds an optimizer of the type that `read` returned, from the type's own keys. Invalid values are recorded in the
  // reader.
  std::unique_ptr<Optimizer> build(const std::string& type, const ConfigReader& json) const {
    return at(type).builder(json);
  }
};

}  // namespace noisysgd
