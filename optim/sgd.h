// SGD with momentum and weight decay: kernels/sgd_step.h.
#pragma once

#include <noisysgd/kernels/sgd_step.h>
#include <noisysgd/optim/optimizer.h>

namespace noisysgd {

struct SgdOptions {
  double momentum = 0.9;
  double weight_decay = 0;
  bool nesterov = false;
};

class Sgd : public Optimizer {
 public:
  explicit Sgd(const SgdOptions& options = {}) : options_(options) {}
  static std::unique_ptr<Optimizer> read(const ConfigReader& json);

  void begin(Context& context, const ParameterSet& parameters) override;
  void step(const OptimizerStep& step) override;
  // Names: "momentum." + parameter name.
  void visit_state(StateVisitor& visitor) const override;

 private:
  SgdOptions options_;
  Context* context_ = nullptr;
  const ParameterSet* parameters_ = nullptr;
  Block velocity_;
};

}  // namespace noisysgd
