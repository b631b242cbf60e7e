#include <noisysgd/bench/program/bandwidth.h>

#include <fmt/format.h>

#include <noisysgd/bench/measure.h>
#include <noisysgd/bench/program/fused_convolutions.h>
#include <noisysgd/bench/program/mover.h>
#include <noisysgd/bench/program/networks.h>
#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/sgd_step.h>

namespace noisysgd::bench {

namespace {

Mover noise_step(Context& context, int64_t parameters) {
  const Tensor value = random_tensor(context, parameters, 0), velocity = zeros(context, {parameters});
  const Tensor sum = random_tensor(context, parameters, 1), square(context, {parameters});
  fill(context, square, 1);
  const auto step = [=, &queue = context.queue] {
    const kernels::SgdSegment segment{.n = parameters,
                                      .value = value.f32(),
                                      .velocity = velocity.f32(),
                                      .gradient_sum = sum.f32(),
                                      .noise = {.variance = {.second_moment = 1e-6f}, .second_moment = square.f32()},
                                      .weight_decay = 5e-4f};
    const kernels::SgdHyperparameters hyperparameters{
        .learning_rate = 1e-3f, .momentum = 0.9f, .inverse_batch = 1e-3f, .seed = 1};
    kernels::sgd_step(queue, std::span(&segment, 1), hyperparameters, nullptr);
  };
  return {{"noise step", step}, 6.0 * sizeof(float) * static_cast<double>(parameters)};  // reads 4, writes 2
}

std::vector<Mover> ghost_batch_norm(Context& context, int64_t batch) {
  const kernels::BatchNormShape shape{batch, 32 * 32, 16, std::min(batch, ghost_size)};
  const int64_t elements = batch * shape.positions * shape.channels, statistics = shape.groups() * shape.channels;
  const Tensor x = random_tensor(context, elements, 0), grad = random_tensor(context, elements, 1),
               y(context, x.shape());
  const Tensor gamma = random_tensor(context, shape.channels, 2), beta = zeros(context, {shape.channels});
  const Tensor running_mean = zeros(context, {shape.channels}), running_variance = zeros(context, {shape.channels});
  const Tensor grad_gamma = zeros(context, {shape.channels}), grad_beta = zeros(context, {shape.channels});
  const Tensor mean(context, {statistics}), inverse_std(context, {statistics});
  const auto forward = [=, &queue = context.queue] {
    kernels::batch_norm_forward(queue, shape,
                                {.epsilon = 1e-5f,
                                 .gamma = gamma.f32(),
                                 .beta = beta.f32(),
                                 .momentum = 0.1f,
                                 .running_mean = running_mean.f32(),
                                 .running_variance = running_variance.f32(),
                                 .mean = mean.f32(),
                                 .inverse_std = inverse_std.f32()},
                                x.f32(), y.f32());
  };
  const auto backward = [=, &queue = context.queue] {
    kernels::batch_norm_backward(queue, shape,
                                 kernels::BatchNormBackward{.x = x.f32(),
                                                            .gamma = gamma.f32(),
                                                            .mean = mean.f32(),
                                                            .inverse_std = inverse_std.f32(),
                                                            .grad_y = grad.f32(),
                                                            .grad_gamma = grad_gamma.f32(),
                                                            .grad_beta = grad_beta.f32(),
                                                            .grad_x = y.f32()});
  };
  const double size = sizeof(float) * static_cast<double>(elements);
  return {{{"ghost batch norm forward", forward}, 2 * size}, {{"ghost batch norm backward", backward}, 3 * size}};
}

// Note on the CUDA kernels (kernels/batch_norm.cu).
constexpr const char* passes =
    " Ghost batch norm reads its input twice, once for the statistics. If nothing stays in a cache, its share is at "
    "most 2/3 forward (3 passes instead of 2) and 3/5 backward (5 instead of 3).";

}  // namespace

Section measure_bandwidth(const BandwidthOptions& options) {
  Context context(options.device, options.threads);
  const double ceiling = copy_bandwidth(context, options.rounds, options.sizes.copied_floats);
  Section section{
      .title = "Bandwidth",
      .note = fmt::format(
          "Medians of {} rounds. Bytes that must at least be moved, over time, as a share of "
          "copying ({:.1f} GB/s). {} parameters; activations of 32x32x16 if no others are named, batch {}.{}",
          options.rounds, ceiling * 1e-9, options.sizes.parameters, options.sizes.activations,
          options.device.backend == Backend::cuda ? passes : ""),
      .table = TextTable({"operation", "ms", "p5 – p95", "GB/s", "share of copy"}),
      .key = "bandwidth",
      .json = {{"copy_bytes_per_second", ceiling},
               {"parameters", options.sizes.parameters},
               {"batch", options.sizes.activations},
               {"operations", Json::object()}}};
  std::vector<Mover> movers = ghost_batch_norm(context, options.sizes.activations);
  movers.push_back(noise_step(context, options.sizes.parameters));
  for (Mover& mover : fused_convolutions(context, options.sizes.activations)) movers.push_back(std::move(mover));
  for (const Mover& mover : movers) {
    const Samples times = measure(context.queue, {mover.run}, options.rounds)[0];
    const double rate = mover.bytes / times.median();
    section.table.add_row({mover.run.name, milliseconds(times.median()), times.spread(),
                           fmt::format("{:.1f}", rate * 1e-9), fmt::format("{:.2f}", rate / ceiling)});
    section.json["operations"][mover.run.name] = {
        {"seconds", times.json()}, {"bytes_per_second", rate}, {"share_of_copy", rate / ceiling}};
  }
  return section;
}

}  // namespace noisysgd::bench
