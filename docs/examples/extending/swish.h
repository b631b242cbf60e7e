// An example layer: y = x s(b x) with the logistic function s and one trainable slope b (Ramachandran et al. 2017).
#pragma once

#include <cmath>
#include <memory>

#include <noisysgd/layers/registry.h>

class Swish : public noisysgd::Layer {
 public:
  Swish(std::string name, const noisysgd::Shape& input) : Layer(std::move(name), input, input) {
    slope_ = {this->name() + ".weight", {1}, noisysgd::Initialisation::constant(1)};
  }

  // Builds the layer. Keys of its own would be read here: json.number("slope", {.default_value = 1}).
  static std::unique_ptr<Layer> read(const noisysgd::ConfigReader&, const noisysgd::LayerContext& at) {
    return std::make_unique<Swish>(at.name, at.input);
  }

  std::vector<noisysgd::Parameter*> parameters() override { return {&slope_}; }

  std::string describe(noisysgd::Graph& graph, const std::string& input) const override {
    return graph.add({name(), "swish", {input}, output_shape(), {}, {&slope_}});
  }

 private:
  static float logistic(float x) { return 1 / (1 + std::exp(-x)); }

  noisysgd::Variable forward_impl(const noisysgd::Forward& pass, noisysgd::Variable x) override {
    noisysgd::Tensor y(pass.context, x.value.shape());
    const float slope = slope_.value.span<float>()[0];
    const auto in = x.value.span<float>(), out = y.span<float>();
    for (size_t i = 0; i < in.size(); ++i) out[i] = in[i] * logistic(slope * in[i]);

    // The closure owns x, which therefore lives until backward has run.
    return pass.record(std::move(y),
                       [this, x = std::move(x)](noisysgd::BackwardPass& backward, const noisysgd::Tensor& grad_y) {
                         backward.add_gradient(x.id, gradient(backward, x.value, grad_y));
                       });
  }

  noisysgd::Tensor gradient(noisysgd::BackwardPass& backward, const noisysgd::Tensor& x,
                            const noisysgd::Tensor& grad_y) {
    noisysgd::Tensor grad_x(backward.context, grad_y.shape());
    const int64_t samples = grad_y.shape()[0], features = input_shape().elements();
    const float slope = slope_.value.span<float>()[0];
    float* const sum = backward.gradient_sum(slope_);
    float* const squares = backward.second_moment(slope_);
    for (int64_t n = 0; n < samples; ++n) {
      float slope_gradient = 0;  // g_n, the gradient of this sample
      for (int64_t i = n * features; i < (n + 1) * features; ++i) {
        const float value = x.f32()[i], s = logistic(slope * value), grad = grad_y.f32()[i];
        grad_x.f32()[i] = grad * (s + slope * value * s * (1 - s));
        slope_gradient += grad * value * value * s * (1 - s);
      }
      if (sum) *sum += slope_gradient;
      if (squares) *squares += slope_gradient * slope_gradient;
    }
    return grad_x;
  }

  noisysgd::Parameter slope_;
};
