#include <noisysgd/layers/pool.h>

#include <noisysgd/layers/dual.h>

namespace noisysgd {

namespace {

kernels::PoolShape pool_shape(const std::string& name, const Shape& input, const PoolOptions& options) {
  NSGD_CHECK(input.rank() == 3, "pool '{}': input {} is not an image [H,W,C]", name, input.text());
  NSGD_CHECK(2 * options.padding <= options.kernel, "pool '{}': padding {} is more than half of the window {}", name,
             options.padding, options.kernel);
  const kernels::PoolShape shape{1, input[0], input[1], input[2], options.kernel, options.stride, options.padding};
  NSGD_CHECK(input[0] + 2 * options.padding >= options.kernel && input[1] + 2 * options.padding >= options.kernel,
             "pool '{}': a window of {} does not fit an input of {}x{}", name, options.kernel, input[0], input[1]);
  return shape;
}

Shape pool_output(const std::string& name, const Shape& input, const PoolOptions& options) {
  const kernels::PoolShape shape = pool_shape(name, input, options);
  return {shape.out_height(), shape.out_width(), shape.channels};
}

kernels::PoolShape batched(kernels::PoolShape shape, int64_t samples) {
  shape.batch = samples;
  return shape;
}

GraphNode pool_node(const Layer& layer, const char* type, const std::string& input, const kernels::PoolShape& shape) {
  GraphNode node{layer.name(), type, {input}, layer.output_shape()};
  node.attributes = {{"kernel", shape.kernel}, {"stride", shape.stride}, {"padding", shape.padding}};
  node.flops = layer.output_shape().elements() * shape.kernel * shape.kernel;
  return node;
}

}  // namespace

MaxPool::MaxPool(std::string name, const Shape& input, const PoolOptions& options)
    : Layer(name, input, pool_output(name, input, options)), shape_(pool_shape(name, input, options)) {}

Variable MaxPool::forward_impl(const Forward& pass, Variable x) {
  Tensor index;
  if (pass.tape) index = Tensor(pass.context, output_shape().batched(x.value.shape()[0]), DType::u8);
  return maxima(pass, x, index);
}

Variable MaxPool::maxima(const Forward& pass, const Variable& x, const Tensor& index) {
  const kernels::PoolShape shape = batched(shape_, x.value.shape()[0]);
  Tensor y = pass.output(output_shape().batched(shape.batch));
  kernels::max_pool_forward(pass.context.queue, shape, x.value.values(), y.values(),
                            index.defined() ? index.data<uint8_t>() : nullptr);
  return record(pass, std::move(y), x, index);
}

Variable MaxPool::record(const Forward& pass, Tensor y, const Variable& x, const Tensor& index) {
  const kernels::PoolShape shape = batched(shape_, x.value.shape()[0]);
  return pass.record(std::move(y), [shape, id = x.id, input = x.value.shape(), type = gradient_type(x.value.dtype()),
                                    index](BackwardPass& backward, const Tensor& grad_y) {
    Tensor grad_x(backward.context, input, type);
    kernels::max_pool_backward(backward.context.queue, shape, index.data<uint8_t>(), grad_y.values(), grad_x.values());
    backward.add_gradient(id, std::move(grad_x));
  });
}

Dual MaxPool::forward_dual(const DualForward& pass, Dual x) {
  Context& context = pass.values.context;
  const kernels::PoolShape shape = batched(shape_, x.value.value.shape()[0]);
  const Tensor index(context, output_shape().batched(shape.batch), DType::u8);
  Dual y{maxima(pass.values, x.value, index)};
  if (!x.moves()) return y;
  Tensor tangent(context, index.shape());
  kernels::max_pool_tangent(context.queue, shape, index.data<uint8_t>(), x.tangent.value.values(), tangent.values());
  y.tangent = record(pass.tangents, std::move(tangent), x.tangent, index);
  return y;
}

std::string MaxPool::describe(Graph& graph, const std::string& input) const {
  return graph.add(pool_node(*this, "max_pool", input, shape_));
}

AveragePool::AveragePool(std::string name, const Shape& input, const PoolOptions& options)
    : Layer(name, input, pool_output(name, input, options)), shape_(pool_shape(name, input, options)) {}

Variable AveragePool::forward_impl(const Forward& pass, Variable x) {
  const kernels::PoolShape shape = batched(shape_, x.value.shape()[0]);
  Tensor y = pass.output(output_shape().batched(shape.batch));
  kernels::average_pool_forward(pass.context.queue, shape, x.value.values(), y.values());
  return pass.record(std::move(y), [shape, id = x.id, input = x.value.shape(), type = gradient_type(x.value.dtype())](
                                       BackwardPass& backward, const Tensor& grad_y) {
    Tensor grad_x(backward.context, input, type);
    kernels::average_pool_backward(backward.context.queue, shape, grad_y.values(), grad_x.values());
    backward.add_gradient(id, std::move(grad_x));
  });
}

std::string AveragePool::describe(Graph& graph, const std::string& input) const {
  return graph.add(pool_node(*this, "average_pool", input, shape_));
}

GlobalAveragePool::GlobalAveragePool(std::string name, const Shape& input)
    : Layer(std::move(name), input, Shape{input[-1]}) {
  NSGD_CHECK(input.rank() == 3, "global_average_pool '{}': input {} is not an image [H,W,C]", this->name(),
             input.text());
}

Variable GlobalAveragePool::forward_impl(const Forward& pass, Variable x) {
  const int64_t samples = x.value.shape()[0], channels = input_shape()[2],
                positions = input_shape()[0] * input_shape()[1];
  Tensor y(pass.context, {samples, channels});
  kernels::global_average_pool_forward(pass.context.queue, samples, positions, channels, x.value.values(), y.values());
  return pass.record(std::move(y), [=, id = x.id, input = x.value.shape(), type = gradient_type(x.value.dtype())](
                                       BackwardPass& backward, const Tensor& grad_y) {
    Tensor grad_x(backward.context, input, type);
    kernels::global_average_pool_backward(backward.context.queue, samples, positions, channels, grad_y.values(),
                                          grad_x.values());
    backward.add_gradient(id, std::move(grad_x));
  });
}

std::string GlobalAveragePool::describe(Graph& graph, const std::string& input) const {
  GraphNode node{name(), "global_average_pool", {input}, output_shape()};
  node.flops = input_shape().elements();
  return graph.add(std::move(node));
}

}  // namespace noisysgd
