// The interface of an optimizer: what a step makes of the mean gradient and its noise, in one fused pass over the
// parameters. It owns what it keeps between steps.
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
  Number<float> learning_rate = 0;                       // after the schedule
  Number<double> gradient_factor = 1.0;                  // of clipping: multiplies the mean gradient, not its norm
  bool noise_after_momentum = false;                     // noise goes past what the optimizer keeps of gradients
  uint64_t seed = 0;
  StepNumber step = 0;
  Number<uint32_t> halted = 0;                           // unless it is 0, nothing changes
  kernels::StepNorms* norms = nullptr;                   // on the device: added to, or null
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Allocates its state for a run: zero. The parameters must outlive it.
  virtual void begin(Context& context, const ParameterSet& parameters) = 0;
  virtual void step(const OptimizerStep& step) = 0;
  // Names the tensors that it keeps from step to step: they are saved in checkpoints and restored.
  virtual void visit_state(StateVisitor& visitor) const = 0;
};

// What every optimizer has.
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
  // Reads "type" and what every optimizer has.
  OptimizerOptions read(const ConfigReader& json) const;
  // Builds what `read` has named from the keys of its own. Bad values are noted in the reader.
  std::unique_ptr<Optimizer> build(const std::string& type, const ConfigReader& json) const {
    return at(type).builder(json);
  }
};

}  // namespace noisysgd
