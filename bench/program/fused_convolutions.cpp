#include <noisysgd/bench/program/fused_convolutions.h>

#include <fmt/format.h>

#include <noisysgd/bench/program/networks.h>
#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/kernels/convert.h>

namespace noisysgd::bench {

namespace {

Tensor random_halves(Context& context, int64_t elements, DType type, uint32_t stream) {
  const Tensor values = random_tensor(context, elements, stream), halves(context, {elements}, type);
  kernels::convert(context.queue, elements, values.values(), halves.values());
  return halves;
}

void add_stage(Context& context, const kernels::ConvBlockShape& shape, std::vector<Mover>& movers) {
  const int64_t elements = shape.elements(), channels = shape.conv.in_channels, constants = shape.groups() * channels;
  const Tensor x = random_halves(context, elements, DType::f16, 0),
               addend = random_halves(context, elements, DType::f16, 1), y(context, {elements}, DType::f16),
               made(context, {elements}, DType::f16);
  const Tensor grad = random_halves(context, elements, DType::bf16, 2),
               other = random_halves(context, elements, DType::bf16, 3), grad_x(context, {elements}, DType::bf16),
               made_grad(context, {elements}, DType::bf16);
  const Tensor factor = random_tensor(context, constants, 4), term = random_tensor(context, constants, 5),
               weight = random_tensor(context, shape.conv.weights(), 6);
  const Tensor mean(context, {shape.groups() * shape.group_items() * channels}, DType::f64),
      m2(context, mean.shape(), DType::f64), sums(context, {shape.conv.batch * shape.bands() * channels * 2});
  const auto add = [&](const char* what, double arrays, std::function<void()> run) {
    movers.push_back({{fmt::format("{} {}@{}x{}", what, channels, shape.conv.height, shape.conv.width), std::move(run)},
                      arrays * 2 * static_cast<double>(elements)});
  };

  const auto forward = [=, &queue = context.queue](const kernels::ConvBlockInput& input) {
    kernels::conv_block_forward(queue, shape, input, weight.f32(), {mean.data<double>(), m2.data<double>()},
                                y.values());
  };
  add("convolution", 2, [=] { forward({.x = x.values()}); });
  add("normalised convolution", 2, [=] { forward({.x = x.values(), .factor = factor.f32(), .term = term.f32()}); });
  add("normalised sum, convolution", 4, [=] {
    forward({.x = x.values(),
             .factor = factor.f32(),
             .term = term.f32(),
             .addend = addend.values(),
             .made = made.values()});
  });
  const auto backward = [=, &queue = context.queue](const kernels::ConvBlockBefore& before) {
    kernels::conv_block_backward_data(queue, shape, weight.f32(),
                                      {.grad = grad.values(),
                                       .y = x.values(),
                                       .factor_grad = factor.f32(),
                                       .factor_y = factor.f32(),
                                       .term = term.f32(),
                                       .made = made_grad.values()},
                                      before, grad_x.values());
  };
  add("data gradient, masked", 5, [=] {
    backward(
        {.x = addend.values(), .factor = factor.f32(), .term = term.f32(), .mean = term.f32(), .sums = sums.f32()});
  });
  add("data gradient, joined and masked", 7, [=] {
    backward(
        {.x = addend.values(), .mean = term.f32(), .sum = made.values(), .other = other.values(), .sums = sums.f32()});
  });
}

}  // namespace

std::vector<Mover> fused_convolutions(Context& context, int64_t batch) {
  std::vector<Mover> movers;
  for (const auto& [channels, size] : {std::pair<int64_t, int64_t>{16, 32}, {32, 16}, {64, 8}}) {
    const kernels::ConvBlockShape shape{{batch, size, size, channels, channels, 3, 3, 1, 1, 1, 1},
                                        std::min(batch, ghost_size)};
    if (kernels::conv_block_takes(context.queue, shape)) add_stage(context, shape, movers);
  }
  return movers;
}

}  // namespace noisysgd::bench
