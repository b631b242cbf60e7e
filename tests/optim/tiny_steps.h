// Training steps on the tiny network.
#pragma once

#include <noisysgd/optim/sgd.h>
#include <noisysgd/optim/step.h>
#include "tests/optim/parameters.h"
#include "tests/optim/tiny_network.h"

namespace noisysgd::test {

// Steps of one run on the network's batch.
class TinySteps {
 public:
  static constexpr uint64_t seed = 5;

  TinySteps(TinyNetwork& net, const std::string& noise_json, StepOptions options = {.keep_gradient = true})
      : net_(net), fisher_(options.fisher), keep_gradient_(options.keep_gradient || options.clip_norm),
        noise(noise_from(noise_json)), step(net.context, net.model, noise, sgd, nullptr, with_seed(options)) {
    step.begin_noise();
  }
  StepRequest request(uint32_t number) const {
    return {.values = {number, 0, 0, 0.5f}, .samples = TinyNetwork::samples, .noise = true};
  }
  StepRecipe recipe(uint32_t number, int64_t micro = TinyNetwork::samples) const {
    StepRecipe recipe{.samples = TinyNetwork::samples};
    if (net_.ghost_size == 0) recipe = step.recipe(request(number));
    else recipe.noise = noise.plan(fisher_, {TinyNetwork::samples, net_.ghost_size}, number, keep_gradient_);
    recipe.micro_batch = micro;
    return recipe;
  }
  void accumulate(uint32_t number, int64_t micro = TinyNetwork::samples) {
    step.accumulate(recipe(number, micro), source(), {.step = number});
  }
  // The noise of one step as a vector over all parameters.
  Vector draw(uint32_t number, int64_t micro = TinyNetwork::samples) {
    accumulate(number, micro);
    Vector drawn;
    for (const Tensor& tensor : step.draw_noise(recipe(number, micro), number))
      for (const float value : tensor.span<float>()) drawn.push_back(value);
    return drawn;
  }
  BatchSource source() {
    return [this](const StepNumbers&, int64_t begin, int64_t count) { return net_.batch.rows(begin, begin + count); };
  }
  std::vector<float> values(Block Sums::*block) const { return gather(net_.model.parameters(), step.sums().*block); }

 private:
  static StepOptions with_seed(StepOptions options) {
    options.seed = seed;
    return options;
  }
  TinyNetwork& net_;
  FisherOptions fisher_;
  bool keep_gradient_;

 public:
  Noise noise;
  Sgd sgd;
  Step step;
};

}  // namespace noisysgd::test
