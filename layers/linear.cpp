#include <noisysgd/layers/linear.h>

#include <noisysgd/kernels/bias.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/layers/dual.h>
#include <noisysgd/layers/fold.h>
#include <noisysgd/layers/weight_gradient.h>

namespace noisysgd {

using kernels::Transpose;

Linear::Linear(std::string name, const Shape& input, const LinearOptions& options)
    : Layer(std::move(name), input, Shape{options.out_features}), options_(options) {
  NSGD_CHECK(input.rank() == 1, "linear '{}': input {} is not a vector; put a flatten before it", this->name(),
             input.text());
  weight_ = {this->name() + ".weight", {options.out_features, input[0]}, Initialisation::he_normal(input[0])};
  bias_ = {this->name() + ".bias", {options.out_features}};
  kronecker_ = {&weight_, options.bias ? &bias_ : nullptr, input[0] + (options.bias ? 1 : 0), options.out_features};
  weight_.kronecker = bias_.kronecker = &kronecker_;
  weight_.gives_sample_statistics = bias_.gives_sample_statistics = true;
  weight_.gives_signed_squares = bias_.gives_signed_squares = true;
  weight_.gives_centered_squares = bias_.gives_centered_squares = true;
}

std::vector<Parameter*> Linear::parameters() {
  if (options_.bias) return {&weight_, &bias_};
  return {&weight_};
}

Variable Linear::forward_fused(const Forward& pass, Variable x, Epilogue epilogue) {
  const int64_t samples = x.value.shape()[0], inputs = input_shape()[0], outputs = options_.out_features;
  Tensor y(pass.context, {samples, outputs});
  auto& queue = pass.context.queue;
  kernels::gemm(queue, Transpose::no, Transpose::yes, samples, outputs, inputs, 1.0f, x.value.values(),
                weight_.value.f32(), 0.0f, y.values());
  kernels::bias_add(queue, samples, outputs,
                    kernels::BiasEpilogue(options_.bias ? bias_.value.f32() : nullptr, epilogue.relu), y.values());

  Tensor relu_output = epilogue.relu ? y : Tensor();
  return pass.record(std::move(y), [this, samples, inputs, outputs, x = std::move(x),
                                    relu_output = std::move(relu_output),
                                    normalisation = std::move(epilogue.normalisation)](BackwardPass& backward,
                                                                                       Tensor grad_y) mutable {
    const Parameter* const bias = options_.bias ? &bias_ : nullptr;
    const kernels::ConvShape shape{samples, 1, 1, inputs, outputs, 1, 1, 1, 1, 0, 0};
    const Tensor grad_z = collect(backward, {shape, x, std::move(grad_y), weight_, bias, kronecker_,
                                             normalisation.get(), backward.last_use(relu_output)});
    if (x.needs_gradient()) {
      Tensor grad_x(backward.context, {samples, inputs});
      kernels::gemm(backward.context.queue, Transpose::no, Transpose::no, samples, inputs, outputs, 1.0f,
                    grad_z.values(), weight_.value.f32(), 0.0f, grad_x.values());
      backward.add_gradient(x.id, std::move(grad_x));
    }
  });
}

Dual Linear::forward_dual(const DualForward& pass, Dual x) {
  const int64_t samples = x.value.value.shape()[0], inputs = input_shape()[0], outputs = options_.out_features;
  const auto product = [](kernels::Queue& queue, const kernels::ConvShape& s, const float* weight, const float* bias,
                          const float* from, float* to) {
    kernels::gemm(queue, Transpose::no, Transpose::yes, s.batch, s.out_channels, s.in_channels, 1.0f, from, weight,
                  0.0f, to);
    if (bias) kernels::bias_add(queue, s.batch, s.out_channels, bias, to);
  };
  const auto transposed = [](kernels::Queue& queue, const kernels::ConvShape& s, const float* weight,
                             const float* grad_y, float* grad_x) {
    kernels::gemm(queue, Transpose::no, Transpose::no, s.batch, s.in_channels, s.out_channels, 1.0f, grad_y, weight,
                  0.0f, grad_x);
  };
  Variable tangent = tangent_of(pass, x,
                                {{samples, 1, 1, inputs, outputs, 1, 1, 1, 1, 0, 0},
                                 {samples, outputs},
                                 weight_,
                                 options_.bias ? &bias_ : nullptr,
                                 kronecker_,
                                 product,
                                 transposed});
  return {forward(pass.values, std::move(x.value)), std::move(tangent)};
}

bool Linear::absorb(Context& context, const ChannelMap& map) {
  map.apply(context, kronecker_, weight_, bias_);
  options_.bias = true;
  return true;
}

std::string Linear::describe(Graph& graph, const std::string& input) const {
  GraphNode node{name(), "linear", {input}, output_shape()};
  node.attributes = {
      {"in_features", input_shape()[0]}, {"out_features", options_.out_features}, {"bias", options_.bias}};
  node.parameters = {&weight_};
  if (options_.bias) node.parameters.push_back(&bias_);
  node.flops = 2 * weight_.shape.elements();
  return graph.add(std::move(node));
}

}  // namespace noisysgd
