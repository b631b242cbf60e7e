// Exponential moving average of the weights and running statistics, used in evaluations instead of the latest values
// (Polyak & Juditsky 1992): average <- decay average + (1-decay) latest after every step, from the initial values on.
#pragma once

#include <vector>

#include <noisysgd/layers/model.h>

namespace noisysgd {

class WeightAverage {
 public:
  // Starts with the current values of the model. The model must outlive the average.
  WeightAverage(Context& context, Model& model, float decay);

  void restart();  // from the current values of the model
  void update();
  // Names: "average." + name in the model.
  void visit_state(StateVisitor& visitor) const;

  // Scope in which the model uses the averages.
  class Use {
   public:
    explicit Use(WeightAverage& average) : average_(average) { average_.swap(); }
    ~Use() { average_.swap(); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    WeightAverage& average_;
  };

 private:
  void swap() noexcept;

  Context& context_;
  Model& model_;
  float decay_;
  Tensor values_;              // [ParameterSet::padded]
  std::vector<Tensor> views_;  // of model.parameters()
  std::vector<Tensor> buffers_;  // of model.buffers()
};

}  // namespace noisysgd
