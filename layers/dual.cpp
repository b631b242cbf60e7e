#include <noisysgd/layers/dual.h>

#include <fmt/format.h>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/layers/deferred.h>
#include <noisysgd/layers/weight_gradient.h>

namespace noisysgd {

Dual Layer::forward_dual(const DualForward& pass, Dual x) {
  if (!is_linear()) throw Error(fmt::format("layer '{}' gives no products with curvature matrices", name()));
  Dual y;
  if (x.moves()) y.tangent = forward(pass.tangents, std::move(x.tangent));
  y.value = forward(pass.values, std::move(x.value));
  return y;
}

Variable tangent_of(const DualForward& pass, const Dual& x, WeightedLayer layer) {
  Context& context = pass.values.context;
  auto& queue = context.queue;
  const kernels::ConvShape shape = layer.shape;
  Tensor direction = pass.direction.of(layer.weight), y(context, layer.output);
  layer.product(queue, shape, direction.f32(), layer.bias ? pass.direction.at(*layer.bias) : nullptr,
                x.value.value.f32(), y.f32());
  if (x.moves()) {
    const Tensor of_input(context, layer.output);
    layer.product(queue, shape, layer.weight.value.f32(), nullptr, x.tangent.value.f32(), of_input.f32());
    kernels::add(queue, y.elements(), of_input.f32(), y.f32());
  }
  return pass.tangents.record(
      std::move(y), [layer = std::move(layer), direction = std::move(direction), id = x.value.id,
                     input = x.value.value.shape(), x_tangent = x.tangent](BackwardPass& backward, Tensor grad_y) {
        auto& device = backward.context.queue;
        const auto add_transposed = [&](int to, const float* weight) {
          if (to < 0) return;
          Tensor grad_x(backward.context, input);
          layer.transposed(device, layer.shape, weight, grad_y.f32(), grad_x.f32());
          backward.add_gradient(to, std::move(grad_x));
        };
        add_transposed(id, direction.f32());
        add_transposed(x_tangent.id, layer.weight.value.f32());
        if (x_tangent.value.defined())
          collect(backward, {layer.shape, x_tangent, std::move(grad_y), layer.weight, nullptr, layer.factors});
      });
}

Variable sum_of(const Forward& pass, Variable x, Variable y) {
  x = written(pass.context, std::move(x));
  y = written(pass.context, std::move(y));
  if (!x.value.defined()) return y;
  if (!y.value.defined()) return x;
  if (!x.value.sole_owner()) {
    Tensor own(pass.context, x.value.shape(), x.value.dtype());
    copy(pass.context, x.value, own);
    x.value = std::move(own);
  }
  kernels::add(pass.context.queue, x.value.elements(), y.value.values(), x.value.values());
  return pass.record(std::move(x.value), [x = x.id, y = y.id](BackwardPass& backward, Tensor grad) {
    backward.add_gradient(y, grad);
    backward.add_gradient(x, std::move(grad));
  });
}

}  // namespace noisysgd
