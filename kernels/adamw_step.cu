#include <noisysgd/kernels/adamw_step.h>

#include <noisysgd/kernels/cuda/optimizer_step.h>

namespace noisysgd::kernels::cuda {
namespace {

struct AdamWRule {
  using Segment = AdamWSegment;
  using Hyperparameters = AdamWHyperparameters;

  // Elements i .. i+3.
  __device__ static void step_four(const AdamWSegment& segment, const AdamWHyperparameters& h, int64_t i,
                                   NormSums& norms) {
    const Four gradient_sum = load_or_zero(segment.gradient_sum, segment.n, i);
    const Four noise =
        noise_at({segment.n, segment.gradient_sum, segment.noise, h.seed, h.step, segment.tensor}, i, gradient_sum);
    Four value = load_or_zero(segment.value, segment.n, i), first = load_or_zero(segment.first, segment.n, i),
         second = load_or_zero(segment.second, segment.n, i);
    const double t = static_cast<double>(h.step.read()) + 1;
    const float correction1 = static_cast<float>(1 / (1 - pow(static_cast<double>(h.beta1), t)));
    const float root_correction2 = static_cast<float>(1 / sqrt(1 - pow(static_cast<double>(h.beta2), t)));
    const float scale = h.inverse_batch * static_cast<float>(h.gradient_factor.read());
    const float learning_rate = h.learning_rate.read();
    for (int k = 0; k < 4; ++k) {
      const float gradient = gradient_sum.at[k] * scale;
      if (i + k < segment.n) {
        norms.gradient += double{gradient} * gradient;
        norms.noise += double{noise.at[k]} * noise.at[k];
      }
      const float direction = h.noise_after_momentum ? gradient : gradient + noise.at[k];
      first.at[k] = first.at[k] * h.beta1 + direction * (1 - h.beta1);
      second.at[k] = second.at[k] * h.beta2 + direction * direction * (1 - h.beta2);
      float update = first.at[k] * correction1 / (sqrtf(second.at[k]) * root_correction2 + h.epsilon);
      update += value.at[k] * h.weight_decay;
      if (h.noise_after_momentum) update += noise.at[k];
      value.at[k] -= update * learning_rate;
    }
    store(segment.value, segment.n, i, value);
    store(segment.first, segment.n, i, first);
    store(segment.second, segment.n, i, second);
  }
};

}  // namespace

void adamw_step(Queue& queue, std::span<const AdamWSegment> segments, const AdamWHyperparameters& hyperparameters,
                StepNorms* norms) {
  step_segments<AdamWRule>(queue, segments, hyperparameters, norms);
}

}  // namespace noisysgd::kernels::cuda
