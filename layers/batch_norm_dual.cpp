// Derivatives of a batch normalisation at its running statistics:
//   y = gamma xhat + beta, xhat = (x - mean) inverse_std,  ydot = gamma inverse_std xdot + v_gamma xhat + v_beta.
#include <noisysgd/kernels/bias.h>
#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/dual.h>

namespace noisysgd {

namespace {

struct RunningMap {
  int64_t channels;
  float epsilon;
  Tensor variance, zero;  // [C]

  // gamma (x - mean) inverse_std + beta + addend
  Tensor operator()(Context& context, const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                    const Tensor& addend = {}) const {
    Tensor y = addend.sole_owner() ? addend : Tensor(context, x.shape());
    kernels::batch_norm_inference(context.queue,
                                  {.rows = x.elements() / channels,
                                   .channels = channels,
                                   .epsilon = epsilon,
                                   .gamma = gamma.f32(),
                                   .beta = beta.f32(),
                                   .running_mean = mean.f32(),
                                   .running_variance = variance.f32(),
                                   .epilogue = {.addend = addend.defined() ? addend.f32() : nullptr}},
                                  x.values(), y.values());
    return y;
  }
  // gamma inverse_std x
  Tensor scaled(Context& context, const Tensor& x, const Tensor& gamma) const {
    return (*this)(context, x, gamma, zero, zero);
  }
};

// grad_gamma += sum grad_y (x - mean) inverse_std, grad_beta += sum grad_y, each unless null.
void collect(Context& context, const RunningMap& map, const Tensor& x, const Tensor& mean, const Tensor& grad_y,
             float* grad_gamma, float* grad_beta) {
  const int64_t samples = x.shape()[0], channels = map.channels, positions = x.elements() / samples / channels;
  Tensor ones(context, {1, channels});
  fill(context, ones, 1);
  const Tensor inverse_std = map.scaled(context, ones, ones.reshape({channels}));
  const Tensor of_beta(context, {samples, channels}), of_gamma(context, of_beta.shape());
  kernels::batch_norm_sample_gradients(context.queue, {samples, positions, channels, samples}, x.f32(), mean.f32(),
                                       inverse_std.f32(), grad_y.f32(), of_beta.f32(), of_gamma.f32());
  kernels::bias_backward(context.queue, samples, 1, channels, of_gamma.f32(), grad_gamma, nullptr);
  if (grad_beta) kernels::bias_backward(context.queue, samples, 1, channels, of_beta.f32(), grad_beta, nullptr);
}

}  // namespace

Dual BatchNorm::forward_dual(const DualForward& pass, Dual x) {
  Context& context = pass.values.context;
  const RunningMap map{channels_, options_.epsilon, running_variance_.value, zeros(context, {channels_})};
  const Tensor gamma = gamma_.value, mean = running_mean_.value, direction = pass.direction.of(gamma_);
  const Tensor& from = x.value.value;

  Tensor tangent = x.moves() ? map.scaled(context, x.tangent.value, gamma) : Tensor();
  tangent = map(context, from, direction, pass.direction.of(beta_), mean, tangent);
  Dual y;
  y.value = pass.values.record(map(context, from, gamma, beta_.value, mean),
                               [this, map, gamma, mean, from = x.value](BackwardPass& backward, const Tensor& grad_y) {
                                 collect(backward.context, map, from.value, mean, grad_y, backward.gradient_sum(gamma_),
                                         backward.gradient_sum(beta_));
                                 if (from.needs_gradient())
                                   backward.add_gradient(from.id, map.scaled(backward.context, grad_y, gamma));
                               });
  y.tangent = pass.tangents.record(std::move(tangent), [this, map, gamma, direction, id = x.value.id, from = x.tangent](
                                                           BackwardPass& backward, const Tensor& grad_y) {
    if (id >= 0) backward.add_gradient(id, map.scaled(backward.context, grad_y, direction));
    if (!from.value.defined()) return;
    collect(backward.context, map, from.value, map.zero, grad_y, backward.gradient_sum(gamma_), nullptr);
    backward.add_gradient(from.id, map.scaled(backward.context, grad_y, gamma));
  });
  return y;
}

}  // namespace noisysgd
