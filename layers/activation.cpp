#include <noisysgd/layers/activation.h>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/layers/dual.h>

namespace noisysgd {

Variable Relu::forward_impl(const Forward& pass, Variable x) {
  Tensor y = output_over(pass.context, x.value);
  kernels::relu_forward(pass.context.queue, y.elements(), x.value.values(), y.values());
  return pass.record(y, [id = x.id, y](BackwardPass& backward, const Tensor& grad_y) {
    Tensor grad_x = output_over(backward.context, grad_y);
    kernels::relu_backward(backward.context.queue, y.elements(), y.values(), grad_y.values(), grad_x.values());
    backward.add_gradient(id, std::move(grad_x));
  });
}

Dual Relu::forward_dual(const DualForward& pass, Dual x) {
  Dual y{forward(pass.values, std::move(x.value))};
  if (!x.moves()) return y;
  // What y does not let through has no derivative, and neither has its gradient: both go through the same op.
  const auto masked = [](Context& context, const Tensor& of, const Tensor& tangent) {
    Tensor through = output_over(context, tangent);
    kernels::relu_backward(context.queue, of.elements(), of.values(), tangent.values(), through.values());
    return through;
  };
  const Tensor& of = y.value.value;
  y.tangent = pass.tangents.record(
      masked(pass.values.context, of, x.tangent.value),
      [masked, of, id = x.tangent.id](BackwardPass& backward, const Tensor& grad) {
        backward.add_gradient(id, masked(backward.context, of, grad));
      });
  return y;
}

std::string Relu::describe(Graph& graph, const std::string& input) const {
  return graph.add({name(), "relu", {input}, output_shape()});
}

Variable Dropout::forward_impl(const Forward& pass, Variable x) {
  if (!pass.training || probability_ == 0.0f) return x;
  const RandomStream stream{pass.seed, pass.step, stream_, RandomPurpose::dropout};
  const auto offset = static_cast<uint64_t>(pass.sample_offset * input_shape().elements());
  Tensor y = output_over(pass.context, x.value);
  kernels::dropout(pass.context.queue, y.elements(), probability_, stream, offset, x.value.values(), y.values());
  return pass.record(std::move(y), [id = x.id, stream, offset, probability = probability_](BackwardPass& backward,
                                                                                           const Tensor& grad_y) {
    Tensor grad_x = output_over(backward.context, grad_y);
    kernels::dropout(backward.context.queue, grad_y.elements(), probability, stream, offset, grad_y.values(),
                     grad_x.values());
    backward.add_gradient(id, std::move(grad_x));
  });
}

std::string Dropout::describe(Graph& graph, const std::string& input) const {
  return graph.add({name(), "dropout", {input}, output_shape(), {{"probability", probability_}}});
}

}  // namespace noisysgd
