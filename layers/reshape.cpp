#include <noisysgd/layers/reshape.h>

#include <noisysgd/kernels/elementwise.h>

namespace noisysgd {

Variable Flatten::forward_impl(const Forward& pass, Variable x) {
  const Shape input = x.value.shape();
  const int64_t samples = input[0], channels = input[-1], positions = input_shape().elements() / channels;
  const Shape output{samples, input_shape().elements()};
  const bool same_order = positions == 1 || channels == 1;
  const DType type = gradient_type(x.value.dtype());
  Tensor y = same_order ? as_type(pass.context, x.value, DType::f32).reshape(output) : Tensor(pass.context, output);
  if (!same_order)
    kernels::nhwc_to_nchw(pass.context.queue, samples, positions, channels, x.value.values(), y.values());
  return pass.record(std::move(y), [=, id = x.id](BackwardPass& backward, const Tensor& grad_y) {
    Tensor grad_x =
        same_order ? as_type(backward.context, grad_y.reshape(input), type) : Tensor(backward.context, input, type);
    if (!same_order)
      kernels::nchw_to_nhwc(backward.context.queue, samples, positions, channels, grad_y.values(), grad_x.values());
    backward.add_gradient(id, std::move(grad_x));
  });
}

std::string Flatten::describe(Graph& graph, const std::string& input) const {
  return graph.add({name(), "flatten", {input}, output_shape()});
}

namespace {

Shape padded(const std::string& name, const Shape& input, int64_t stride, int64_t channels) {
  NSGD_CHECK(input.rank() == 3 && channels >= input[2], "pad_channels '{}': input {} cannot be padded to {} channels",
             name, input.text(), channels);
  return {(input[0] - 1) / stride + 1, (input[1] - 1) / stride + 1, channels};
}

}  // namespace

PadChannels::PadChannels(std::string name, const Shape& input, int64_t stride, int64_t channels)
    : Layer(name, input, padded(name, input, stride, channels)), stride_(stride), channels_(channels) {}

Variable PadChannels::forward_impl(const Forward& pass, Variable x) {
  const int64_t samples = x.value.shape()[0];
  Tensor y = pass.output(output_shape().batched(samples));
  const Shape& in = input_shape();
  const kernels::PadShape shape{samples, in[0], in[1], in[2], stride_, channels_};
  kernels::pad_channels_forward(pass.context.queue, shape, x.value.values(), y.values());
  return pass.record(std::move(y), [this, shape, id = x.id, type = gradient_type(x.value.dtype())](
                                       BackwardPass& backward, const Tensor& grad_y) {
    Tensor grad_x(backward.context, input_shape().batched(shape.batch), type);
    kernels::pad_channels_backward(backward.context.queue, shape, grad_y.values(), grad_x.values());
    backward.add_gradient(id, std::move(grad_x));
  });
}

std::string PadChannels::describe(Graph& graph, const std::string& input) const {
  return graph.add({name(), "pad_channels", {input}, output_shape(), {{"stride", stride_}, {"channels", channels_}}});
}

}  // namespace noisysgd
