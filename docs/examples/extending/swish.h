// An example layer: y = x s(b x) with the logistic function s and one trainable slope b (Ramachandran et al. 2017).
#pragma once

#include <memory>

#include <noisysgd/kernels/bias.h>
#include <noisysgd/layers/registry.h>
#include "swish_op.h"

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
  noisysgd::Variable forward_impl(const noisysgd::Forward& pass, noisysgd::Variable x) override {
    noisysgd::Tensor y(pass.context, x.value.shape());
    swish_ops::swish_forward(pass.context.queue, y.elements(), slope_.value.f32(), x.value.f32(), y.f32());

    // The closure owns x, which therefore lives until backward has run.
    return pass.record(std::move(y),
                       [this, x = std::move(x)](noisysgd::BackwardPass& backward, const noisysgd::Tensor& grad_y) {
                         backward.add_gradient(x.id, gradient(backward, x.value, grad_y));
                       });
  }

  noisysgd::Tensor gradient(noisysgd::BackwardPass& backward, const noisysgd::Tensor& x,
                            const noisysgd::Tensor& grad_y) {
    auto& context = backward.context;
    const int64_t samples = grad_y.shape()[0];
    const noisysgd::Tensor grad_x(context, grad_y.shape()), gradients(context, {samples});  // g_n of every sample
    swish_ops::swish_backward(context.queue, samples, input_shape().elements(), slope_.value.f32(), x.f32(),
                              grad_y.f32(), grad_x.f32(), gradients.f32());
    // Adds the sums of g_n and of its square, as for the bias of one channel.
    noisysgd::kernels::bias_backward(context.queue, samples, 1, 1, gradients.f32(), backward.gradient_sum(slope_),
                                     backward.second_moment(slope_));
    return grad_x;
  }

  noisysgd::Parameter slope_;
};
