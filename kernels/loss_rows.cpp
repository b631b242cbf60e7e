#include <noisysgd/kernels/loss_rows.h>

#include <algorithm>

#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cpu {

namespace {

struct RowResult {
  double loss;
  bool correct;
};

}  // namespace

void loss_rows(Queue& queue, const char* name, int64_t samples, int64_t classes, const float* logits,
               const int32_t* labels, const float* sample_weights, float* grad_logits, float* sample_losses,
               LossSums* sums, const std::function<double(const LossRow&)>& loss) {
  if (samples == 0) return;
  NSGD_CHECK(classes > 0, "{}: {} classes, expected at least 1", name, classes);
  for (int64_t n = 0; n < samples; ++n)
    NSGD_CHECK(labels[n] >= 0 && labels[n] < classes, "{}: sample {} has label {}, expected 0..{}", name, n, labels[n],
               classes - 1);
  Scratch scratch(queue);
  RowResult* const rows = scratch.take<RowResult>(samples);
  parallel_ranges(queue, samples, std::max<int64_t>(1, 4096 / classes), [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const float* const z = logits + n * classes;
      float* const gradient = grad_logits ? grad_logits + n * classes : nullptr;
      const int64_t argmax = std::max_element(z, z + classes) - z;
      rows[n] = {loss({z, classes, labels[n], argmax, gradient}), argmax == labels[n]};
      if (gradient && sample_weights)
        for (int64_t k = 0; k < classes; ++k) gradient[k] *= sample_weights[n];
      if (sample_losses) sample_losses[n] = static_cast<float>(rows[n].loss);
    }
  });
  if (!sums) return;
  LossSums part{.samples = samples};
  for (int64_t n = 0; n < samples; ++n) {  // in the order of the samples, for any thread count
    part.loss += rows[n].loss;
    part.weighted_loss += sample_weights ? sample_weights[n] * rows[n].loss : rows[n].loss;
    part.correct += rows[n].correct;
  }
  add_to(*sums, part);
}

}  // namespace noisysgd::kernels::cpu
