#include <noisysgd/layers/weight_gradient.h>

#include <algorithm>
#include <utility>

#include <noisysgd/kernels/bias.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/gram.h>
#include <noisysgd/kernels/patches.h>
#include <noisysgd/kernels/sample_norms.h>
#include <noisysgd/layers/centered_sums.h>
#include <noisysgd/layers/deferred.h>
#include <noisysgd/layers/layer.h>
#include <noisysgd/layers/random_signs.h>

namespace noisysgd {

using kernels::Transpose;

namespace {

Tensor x_of(const BackwardPass& pass, const WeightGradient& of) { return written(pass.context, of.x).value; }

// For ops that read fp32 alone.
Tensor as_f32(const BackwardPass& pass, const Tensor& tensor) { return as_type(pass.context, tensor, DType::f32); }

// A linear layer, whose sums are matrix products over the samples.
bool is_matrix(const kernels::ConvShape& shape) {
  const bool single_pixels =
      shape.height == 1 && shape.width == 1 && shape.kernel_height == 1 && shape.kernel_width == 1;
  return single_pixels && shape.padding_height == 0 && shape.padding_width == 0;
}

bool trains_bias(const WeightGradient& of) { return of.bias && !of.bias->frozen; }

bool is_centered(const BackwardPass& pass, const WeightGradient& of) {
  return pass.statistics.center_normalised && of.normalisation;
}

void add_matrix_gradient(const BackwardPass& pass, const kernels::ConvShape& shape, const Tensor& stored_x,
                         const Tensor& stored_grad_y, float* gradient, float* second_moment) {
  auto& queue = pass.context.queue;
  const Tensor x = as_f32(pass, stored_x), grad_y = as_f32(pass, stored_grad_y);
  if (gradient)
    kernels::gemm(queue, Transpose::yes, Transpose::no, shape.out_channels, shape.in_channels, shape.batch, 1.0f,
                  grad_y.values(), x.values(), 1.0f, gradient);
  if (second_moment)
    kernels::linear_second_moment(queue, shape.batch, shape.out_channels, shape.in_channels, x.values(),
                                  grad_y.values(), second_moment);
}

// Gradient and second moment of the weight, and its sums with signs that a sample's positions share; each null: not
// wanted.
void collect_weight(const BackwardPass& pass, const WeightGradient& of, const kernels::SampleSums& sums) {
  auto& queue = pass.context.queue;
  float *const gradient = pass.gradient_sum(of.weight), *const squares = sums.second_moment;
  const SecondMoment kind = pass.statistics.second_moment;
  if (squares && is_centered(pass, of)) {
    Normalisation normalisation = *of.normalisation;
    normalisation.z = as_f32(pass, normalisation.z);
    add_centered_sums(pass.context, of.shape, normalisation, as_f32(pass, x_of(pass, of)), as_f32(pass, of.grad_y), sums,
                      gradient);
  } else if (is_matrix(of.shape))
    add_matrix_gradient(pass, of.shape, x_of(pass, of), of.grad_y, gradient, squares);
  else if (squares && kind == SecondMoment::spatial)
    kernels::conv_second_moment_spatial(queue, of.shape, x_of(pass, of).values(), of.grad_y.values(), gradient, squares);
  else if (squares || sums.signed_sum)
    kernels::conv_sample_sums(queue, of.shape, operand_of(pass.context, of.x), of.grad_y.values(), sums, gradient);
  else if (gradient)
    kernels::conv_backward_weight(queue, of.shape, operand_of(pass.context, of.x), of.grad_y.values(), gradient);
}

// Gradient and second moment of the bias. With a ReLU epilogue the same kernel computes the gradient of the ReLU's
// input, which replaces grad_y.
void collect_bias(const BackwardPass& pass, WeightGradient& of) {
  const kernels::ConvShape& shape = of.shape;
  auto& queue = pass.context.queue;
  float* const gradient = of.bias ? pass.gradient_sum(*of.bias) : nullptr;
  const bool has_moment = of.bias && !is_centered(pass, of);  // nothing is left of a centred one
  float* const squares = has_moment ? pass.second_moment(*of.bias) : nullptr;
  if (of.relu_output.defined()) {
    Tensor grad_z = output_over(pass.context, of.grad_y);
    kernels::bias_relu_backward(queue, shape.batch, shape.positions(), shape.out_channels, of.relu_output.values(),
                                of.grad_y.values(), grad_z.values(), gradient, squares);
    of.grad_y = std::move(grad_z);
    of.relu_output = {};
  } else if (gradient || squares) {
    kernels::bias_backward(queue, shape.batch, shape.positions(), shape.out_channels, of.grad_y.values(), gradient,
                           squares);
  }
}

// A second weight-gradient pass, for signs that collect_weight has no kernel for.
void collect_signed(const BackwardPass& pass, const WeightGradient& of) {
  const kernels::ConvShape& shape = of.shape;
  const Tensor with_signs =
      signed_gradient(pass, of.weight.index, shape.batch, shape.positions(), shape.out_channels, of.grad_y);
  if (!with_signs.defined()) return;
  auto& queue = pass.context.queue;
  const bool squares = pass.statistics.signs.squares;
  float *const sum = pass.into.signed_sum.at(of.weight),
               *const variance = squares ? pass.into.signed_variance.at(of.weight) : nullptr;
  if (is_matrix(shape))
    add_matrix_gradient(pass, shape, x_of(pass, of), with_signs, sum, variance);
  else if (squares)
    kernels::conv_second_moment_spatial(queue, shape, x_of(pass, of).values(), with_signs.values(), sum, variance);
  else
    kernels::conv_backward_weight(queue, shape, operand_of(pass.context, of.x), with_signs.values(), sum);
  if (!of.bias) return;
  // Where squares are asked for each position counts for itself.
  kernels::bias_backward(queue, squares ? shape.batch * shape.positions() : shape.batch,
                         squares ? 1 : shape.positions(), shape.out_channels, with_signs.values(),
                         pass.into.signed_sum.at(*of.bias), squares ? pass.into.signed_variance.at(*of.bias) : nullptr);
}

// [M,K]
Tensor bias_gradients(const BackwardPass& pass, const WeightGradient& of) {
  Tensor gradients(pass.context, {of.shape.batch, of.shape.out_channels});
  kernels::bias_sample_gradients(pass.context.queue, of.shape.batch, of.shape.positions(), of.shape.out_channels,
                                 of.grad_y.values(), gradients.f32());
  return gradients;
}

void collect_signed_bias(const BackwardPass& pass, const WeightGradient& of) {
  add_signed_samples(pass, of.weight.index, bias_gradients(pass, of), pass.into.signed_sum.at(*of.bias));
}

// The norms of the pass's samples, or null.
float* norms_of(const BackwardPass& pass) {
  const Tensor& norms = pass.into.sample_norms;
  return norms.defined() ? norms.f32() + pass.samples.offset : nullptr;
}

// gradients [M,K]: of a parameter of K elements.
void add_norms(const BackwardPass& pass, const Tensor& gradients) {
  kernels::sample_norms(pass.context.queue, gradients.shape()[0], gradients.shape()[1], gradients.f32(), 0, nullptr,
                        norms_of(pass));
}

void collect_norms(const BackwardPass& pass, const WeightGradient& of) {
  float* const norms = norms_of(pass);
  if (!norms) return;
  const kernels::ConvShape& shape = of.shape;
  if (of.weight.frozen) {
    // counts for nothing
  } else if (is_matrix(shape)) {
    kernels::sample_norms(pass.context.queue, shape.batch, shape.out_channels, as_f32(pass, of.grad_y).values(),
                          shape.in_channels, as_f32(pass, x_of(pass, of)).values(), norms);
  } else {
    kernels::conv_sample_norms(pass.context.queue, shape, as_f32(pass, x_of(pass, of)).values(),
                               as_f32(pass, of.grad_y).values(), norms);
  }
  if (trains_bias(of)) add_norms(pass, bias_gradients(pass, of));
}

// The row of the pass's sample n.
float* row_of(const BackwardPass& pass, int64_t sample) {
  const Tensor& rows = pass.into.sample_gradients;
  return rows.f32() + (pass.samples.offset + sample) * rows.shape()[1];
}

// One sample after the other: rows are of few samples.
void collect_rows(const BackwardPass& pass, const WeightGradient& of) {
  if (!pass.into.sample_gradients.defined()) return;
  auto& queue = pass.context.queue;
  kernels::ConvShape one = of.shape;
  one.batch = 1;
  for (int64_t n = 0; n < of.shape.batch; ++n) {
    const Tensor x = x_of(pass, of).rows(n, n + 1), grad_y = of.grad_y.rows(n, n + 1);
    float* const row = row_of(pass, n);
    if (of.weight.frozen) {
      // its columns stay 0
    } else if (is_matrix(one)) {
      add_matrix_gradient(pass, one, x, grad_y, row + of.weight.offset, nullptr);
    } else {
      kernels::conv_backward_weight(queue, one, x.values(), grad_y.values(), row + of.weight.offset);
    }
    if (trains_bias(of))
      kernels::bias_backward(queue, 1, one.positions(), one.out_channels, grad_y.values(), row + of.bias->offset,
                             nullptr);
  }
}

// sum a a^T and sum delta delta^T, as far as they are asked for.
void collect_kronecker(const BackwardPass& pass, const WeightGradient& of) {
  const KroneckerSums* sums = pass.into.kronecker_of(of.factors);
  if (!sums) return;
  auto& queue = pass.context.queue;
  const kernels::ConvShape& shape = of.shape;
  if (pass.statistics.kronecker_output)
    kernels::gram(queue, shape.batch * shape.positions(), of.factors.outputs,
                  as_f32(pass, of.grad_y).values(), sums->output.f32());
  if (!pass.statistics.kronecker_input) return;
  // Patches of a few samples at a time: those of a whole batch would be R*S times its activations.
  constexpr int64_t block_elements = int64_t{1} << 20;
  const int64_t per_sample = shape.positions() * of.factors.inputs;
  const int64_t block = std::clamp<int64_t>(block_elements / per_sample, 1, std::max<int64_t>(1, shape.batch));
  const Tensor patches(pass.context, {block * shape.positions(), of.factors.inputs});
  for (int64_t first = 0; first < shape.batch; first += block) {
    kernels::ConvShape part = shape;
    part.batch = std::min(block, shape.batch - first);
    kernels::conv_patches(queue, part, of.bias != nullptr,
                          as_f32(pass, x_of(pass, of).rows(first, first + part.batch)).values(), patches.values());
    kernels::gram(queue, part.batch * part.positions(), of.factors.inputs, patches.values(), sums->input.f32());
  }
}

}  // namespace

Tensor collect(const BackwardPass& pass, WeightGradient of) {
  collect_bias(pass, of);
  if (of.weight.frozen && !trains_bias(of)) return std::move(of.grad_y);
  if (const auto& type = pass.context.rounding.gradients) {  // both operands of a product have one type
    const Tensor x(pass.context, of.x.value.shape());
    copy(pass.context, of.x.value, x);
    round_stored(pass.context, type, x);
    of.x = {x};
  }
  const SecondMoment kind = pass.statistics.second_moment;
  kernels::SampleSums sums{.second_moment = pass.second_moment(of.weight)};
  const bool spatial = sums.second_moment && kind == SecondMoment::spatial;
  const Tensor signs = spatial || is_matrix(of.shape)
                           ? Tensor()
                           : sample_signs(pass, of.weight.index, of.shape.batch, of.shape.out_channels);
  if (signs.defined()) {
    sums.signed_sum = pass.into.signed_sum.at(of.weight);
    sums.signs = signs.f32();
  }
  collect_weight(pass, of, sums);
  if (!signs.defined())
    collect_signed(pass, of);
  else if (of.bias)
    collect_signed_bias(pass, of);
  collect_kronecker(pass, of);
  collect_norms(pass, of);
  collect_rows(pass, of);
  return std::move(of.grad_y);
}

namespace {

// Signs of elements are K-FAC's and replace gradients. They do not apply to a batch normalisation, which has diagonal
// noise.
bool collects_signed(const BackwardPass& pass) {
  const kernels::SignGrain grain = pass.statistics.signs.grain;
  return grain != kernels::SignGrain::none && grain != kernels::SignGrain::element;
}

// The gradients [M,C] of beta and gamma of the single samples.
std::pair<Tensor, Tensor> sample_gradients(const BackwardPass& pass, const NormalisationGradient& of) {
  Tensor of_beta(pass.context, {of.shape.samples, of.shape.channels}), of_gamma(pass.context, of_beta.shape());
  kernels::batch_norm_sample_gradients(pass.context.queue, of.shape, of.x.values(), of.mean.f32(), of.inverse_std.f32(),
                                       of.grad_y.values(), of_beta.f32(), of_gamma.f32());
  return {std::move(of_beta), std::move(of_gamma)};
}

void collect_norms(const BackwardPass& pass, const NormalisationGradient& of) {
  const auto [of_beta, of_gamma] = sample_gradients(pass, of);
  if (!of.beta.frozen) add_norms(pass, of_beta);
  if (!of.gamma.frozen) add_norms(pass, of_gamma);
}

void collect_rows(const BackwardPass& pass, const NormalisationGradient& of) {
  if (!pass.into.sample_gradients.defined()) return;
  const auto [of_beta, of_gamma] = sample_gradients(pass, of);
  const int64_t channels = of.shape.channels;
  for (int64_t n = 0; n < of.shape.samples; ++n) {
    const auto add = [&](const Parameter& parameter, const Tensor& gradients) {
      if (!parameter.frozen)
        kernels::add(pass.context.queue, channels, gradients.f32() + n * channels, row_of(pass, n) + parameter.offset);
    };
    add(of.beta, of_beta);
    add(of.gamma, of_gamma);
  }
}

void collect_signed(const BackwardPass& pass, const NormalisationGradient& of) {
  const kernels::BatchNormShape& shape = of.shape;
  const SignedSums& signs = pass.statistics.signs;
  const Block &sum = pass.into.signed_sum, &variance = pass.into.signed_variance;
  const uint32_t layer = of.gamma.index;
  auto& queue = pass.context.queue;
  const Tensor gradient =
      signs.of_samples() ? of.grad_y
                         : signed_gradient(pass, layer, shape.samples, shape.positions, shape.channels, of.grad_y);
  if (signs.squares) {  // each position counts for itself, as if it were a sample
    const kernels::BatchNormShape by_position{shape.samples * shape.positions, 1, shape.channels,
                                              shape.group * shape.positions};
    const Tensor of_beta(pass.context, gradient.shape()), of_gamma(pass.context, gradient.shape());
    kernels::batch_norm_sample_gradients(queue, by_position, of.x.values(), of.mean.f32(), of.inverse_std.f32(),
                                         gradient.f32(), of_beta.f32(), of_gamma.f32());
    kernels::bias_backward(queue, by_position.samples, 1, shape.channels, of_beta.f32(), sum.at(of.beta),
                           variance.at(of.beta));
    kernels::bias_backward(queue, by_position.samples, 1, shape.channels, of_gamma.f32(), sum.at(of.gamma),
                           variance.at(of.gamma));
    return;
  }
  const Tensor of_beta(pass.context, {shape.samples, shape.channels}), of_gamma(pass.context, of_beta.shape());
  kernels::batch_norm_sample_gradients(queue, shape, of.x.values(), of.mean.f32(), of.inverse_std.f32(), gradient.f32(),
                                       of_beta.f32(), of_gamma.f32());
  add_signed_samples(pass, layer, of_beta, sum.at(of.beta));
  add_signed_samples(pass, layer, of_gamma, sum.at(of.gamma));
}

}  // namespace

bool collects_samples(const BackwardPass& pass) {
  if (pass.into.sample_gradients.defined()) return true;
  return collects_signed(pass) || norms_of(pass);
}

void collect(const BackwardPass& pass, const NormalisationGradient& given) {
  if (given.gamma.frozen && given.beta.frozen) return;
  const Tensor x = as_f32(pass, given.x), grad_y = as_f32(pass, given.grad_y);
  const NormalisationGradient of{given.shape, x, given.mean, given.inverse_std, grad_y, given.gamma, given.beta};
  if (norms_of(pass)) collect_norms(pass, of);
  collect_rows(pass, of);
  if (collects_signed(pass)) collect_signed(pass, of);
}

}  // namespace noisysgd
