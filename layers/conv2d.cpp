#include <noisysgd/layers/conv2d.h>

#include <noisysgd/layers/conv_block.h>
#include <noisysgd/layers/dual.h>
#include <noisysgd/layers/fold.h>
#include <noisysgd/layers/weight_gradient.h>

namespace noisysgd {

namespace {

kernels::ConvShape conv_shape(const std::string& name, const Shape& input, const Conv2dOptions& options) {
  NSGD_CHECK(input.rank() == 3, "conv2d '{}': input {} is not an image [H,W,C]", name, input.text());
  const kernels::ConvShape shape{1,
                                 input[0],
                                 input[1],
                                 input[2],
                                 options.out_channels,
                                 options.kernel[0],
                                 options.kernel[1],
                                 options.stride[0],
                                 options.stride[1],
                                 options.padding[0],
                                 options.padding[1]};
  const bool fits = shape.height + 2 * shape.padding_height >= shape.kernel_height &&
                    shape.width + 2 * shape.padding_width >= shape.kernel_width;
  NSGD_CHECK(fits, "conv2d '{}': a {}x{} kernel does not fit an input of {}x{} with padding {},{}", name,
             shape.kernel_height, shape.kernel_width, shape.height, shape.width, shape.padding_height,
             shape.padding_width);
  const Shape filters{shape.out_channels, shape.kernel_height, shape.kernel_width, shape.in_channels};
  NSGD_CHECK(filters.has_at_most(most_elements), "conv2d '{}': its filters {} would have more than {} elements", name,
             filters.text(), most_elements);
  return shape;
}

Shape conv_output(const std::string& name, const Shape& input, const Conv2dOptions& options) {
  const kernels::ConvShape shape = conv_shape(name, input, options);
  return {shape.out_height(), shape.out_width(), shape.out_channels};
}

}  // namespace

Conv2d::Conv2d(std::string name, const Shape& input, const Conv2dOptions& options)
    : Layer(name, input, conv_output(name, input, options)),
      options_(options),
      shape_(conv_shape(name, input, options)) {
  const int64_t fan_in = shape_.weights() / shape_.out_channels;
  weight_ = {name + ".weight",
             {shape_.out_channels, shape_.kernel_height, shape_.kernel_width, shape_.in_channels},
             Initialisation::he_normal(fan_in),
             ParameterLayout::krsc};
  weight_.positions = shape_.positions();
  bias_ = {name + ".bias", {shape_.out_channels}};
  kronecker_ = {&weight_, options.bias ? &bias_ : nullptr, fan_in + (options.bias ? 1 : 0), shape_.out_channels,
                shape_.positions()};
  weight_.kronecker = bias_.kronecker = &kronecker_;
  weight_.gives_sample_statistics = bias_.gives_sample_statistics = true;
  weight_.gives_signed_squares = bias_.gives_signed_squares = true;
  weight_.gives_centered_squares = bias_.gives_centered_squares = true;
}

std::vector<Parameter*> Conv2d::parameters() {
  if (options_.bias) return {&weight_, &bias_};
  return {&weight_};
}

Variable Conv2d::forward_fused(const Forward& pass, Variable x, Epilogue epilogue) {
  kernels::ConvShape shape = shape_;
  shape.batch = x.value.shape()[0];
  if (!options_.bias && !epilogue.relu)
    if (const auto block = ConvBlock::find(pass, shape, x, epilogue.normalisation))
      return forward_block(pass, *block, shape, std::move(x), std::move(epilogue.normalisation));
  x = written(pass.context, std::move(x));
  Tensor y = pass.output(output_shape().batched(shape.batch));
  kernels::conv_forward(pass.context.queue, shape, x.value.values(), weight_.value.f32(),
                        kernels::BiasEpilogue(options_.bias ? bias_.value.f32() : nullptr, epilogue.relu), y.values());

  Tensor relu_output = epilogue.relu ? y : Tensor();
  return pass.record(
      std::move(y), [this, shape, x = std::move(x), relu_output = std::move(relu_output),
                     normalisation = std::move(epilogue.normalisation)](BackwardPass& backward, Tensor grad_y) mutable {
        const Parameter* const bias = options_.bias ? &bias_ : nullptr;
        const Tensor grad_z = collect(backward, {shape, x, std::move(grad_y), weight_, bias, kronecker_,
                                                 normalisation.get(), backward.last_use(relu_output)});
        backward_data(backward, shape, x, grad_z);
      });
}

void Conv2d::backward_data(BackwardPass& backward, const kernels::ConvShape& shape, const Variable& x,
                           const Tensor& grad_y) const {
  if (!x.needs_gradient()) return;
  Tensor grad_x = gradient_of(backward.context, x.value);
  kernels::conv_backward_data(backward.context.queue, shape, weight_.value.f32(), grad_y.values(), grad_x.values());
  backward.add_gradient(x.id, std::move(grad_x));
}

Variable Conv2d::forward_block(const Forward& pass, const ConvBlock& block, const kernels::ConvShape& shape, Variable x,
                               std::shared_ptr<Normalisation> normalisation) {
  const Tensor y = pass.output(output_shape().batched(shape.batch));
  block.forward(pass, x, weight_, y);
  return pass.record(y, [this, block, shape, x = std::move(x), y, normalisation = std::move(normalisation)](
                            BackwardPass& backward, Tensor gradient) {
    const bool passed_on = block.backward(backward, x, weight_, y, gradient);
    const Tensor grad_y =
        collect(backward, {shape, x, std::move(gradient), weight_, nullptr, kronecker_, normalisation.get()});
    if (!passed_on) backward_data(backward, shape, x, grad_y);
  });
}

Dual Conv2d::forward_dual(const DualForward& pass, Dual x) {
  kernels::ConvShape shape = shape_;
  shape.batch = x.value.value.shape()[0];
  const auto product = [](kernels::Queue& queue, const kernels::ConvShape& s, const float* weight, const float* bias,
                          const float* from, float* to) { kernels::conv_forward(queue, s, from, weight, bias, to); };
  const auto transposed = [](kernels::Queue& queue, const kernels::ConvShape& s, const float* weight,
                             const float* grad_y,
                             float* grad_x) { kernels::conv_backward_data(queue, s, weight, grad_y, grad_x); };
  Variable tangent = tangent_of(pass, x,
                                {shape, output_shape().batched(shape.batch), weight_, options_.bias ? &bias_ : nullptr,
                                 kronecker_, product, transposed});
  return {forward(pass.values, std::move(x.value)), std::move(tangent)};
}

bool Conv2d::absorb(Context& context, const ChannelMap& map) {
  map.apply(context, kronecker_, weight_, bias_);
  options_.bias = true;
  return true;
}

std::string Conv2d::describe(Graph& graph, const std::string& input) const {
  GraphNode node{name(), "conv2d", {input}, output_shape()};
  node.attributes = {{"in_channels", shape_.in_channels}, {"out_channels", shape_.out_channels},
                     {"kernel", options_.kernel},         {"stride", options_.stride},
                     {"padding", options_.padding},       {"bias", options_.bias}};
  node.parameters = {&weight_};
  if (options_.bias) node.parameters.push_back(&bias_);
  node.flops = 2 * shape_.weights() * shape_.positions();
  return graph.add(std::move(node));
}

}  // namespace noisysgd
