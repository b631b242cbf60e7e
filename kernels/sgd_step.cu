#include <noisysgd/kernels/sgd_step.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/optimizer_step.h>

namespace noisysgd::kernels::cuda {
namespace {

struct SgdRule {
  using Segment = SgdSegment;
  using Hyperparameters = SgdHyperparameters;

  // Elements i .. i+3.
  __device__ static void step_four(const SgdSegment& segment, const SgdHyperparameters& h, int64_t i, NormSums& norms) {
    const Four gradient_sum = load_or_zero(segment.gradient_sum, segment.n, i);
    const Four noise = noise_at({segment.n, segment.gradient_sum, segment.noise, h.seed, h.step, segment.tensor}, i, gradient_sum);
    Four value = load_or_zero(segment.value, segment.n, i), velocity = load_or_zero(segment.velocity, segment.n, i);
    const float inverse_batch = h.inverse_batch * static_cast<float>(h.gradient_factor.read());
    const float learning_rate = h.learning_rate.read();
    for (int k = 0; k < 4; ++k) {
      const float gradient = gradient_sum.at[k] * inverse_batch;
      if (i + k < segment.n) {
        norms.gradient += double{gradient} * gradient;
        norms.noise += double{noise.at[k]} * noise.at[k];
      }
      float direction = gradient + value.at[k] * segment.weight_decay;
      if (!h.noise_after_momentum) direction += noise.at[k];
      float update = direction;
      if (segment.velocity) {
        velocity.at[k] = velocity.at[k] * h.momentum + direction;
        update = h.nesterov ? direction + velocity.at[k] * h.momentum : velocity.at[k];
      }
      if (h.noise_after_momentum) update += noise.at[k];
      value.at[k] -= update * learning_rate;
    }
    store(segment.value, segment.n, i, value);
    if (segment.velocity) store(segment.velocity, segment.n, i, velocity);
  }
};

__global__ void __launch_bounds__(block_threads) draw_noise_kernel(NoiseDraw draw, float* noise) {
  grid_stride(divide_up(draw.n, 4), [&](int64_t block) {
    const int64_t i = 4 * block;
    store(noise, draw.n, i, noise_at(draw, i, load_or_zero(draw.gradient_sum, draw.n, i)));
  });
}

}  // namespace

void sgd_step(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
              StepNorms* norms) {
  step_segments<SgdRule>(queue, segments, hyperparameters, norms);
}

void draw_noise(Queue& queue, const NoiseDraw& draw, float* noise) {
  check(draw);
  if (draw.n > 0)
    launch(queue, draw_noise_kernel, grid_size(divide_up(draw.n, 4)), block_threads, 0, draw, noise);
}

}  // namespace noisysgd::kernels::cuda
