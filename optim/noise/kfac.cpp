#include "optim/noise/kfac.h"

#include "kernels/cholesky.h"
#include "kernels/gemm.h"
#include "kernels/random.h"
#include "kernels/reduce.h"

namespace noisysgd {

using kernels::Transpose;

namespace {

// Rows of A's factor that belong to this parameter: all inputs but the constant, or that one.
struct InputRows {
  int64_t first, count;
};

InputRows input_rows(const Parameter& parameter) {
  const KroneckerFactors& factors = *parameter.kronecker;
  const int64_t inputs = factors.inputs - (factors.bias ? 1 : 0);
  return &parameter == factors.weight ? InputRows{0, inputs} : InputRows{inputs, 1};
}

double squared_norm(Context& context, const float* x, int64_t n) {
  kernels::TensorSums sums;
  kernels::tensor_sums(context.queue, n, x, &sums);
  return sums.sum_of_squares;
}

}  // namespace

std::unique_ptr<NoiseStructure> KfacNoise::read(const ConfigReader& json) {
  KfacOptions options;
  options.sizes = NoiseBatchSizes::read(json);
  options.refresh_every = json.integer("refresh_every", {.default_value = options.refresh_every, .at_least = 1});
  options.jitter = json.number("jitter", {.default_value = options.jitter, .at_least = 0, .at_most = 0.01});
  options.matrix_free = json.boolean("matrix_free", options.matrix_free);
  return std::make_unique<KfacNoise>(options);
}

NoiseNeeds KfacNoise::needs(const NoiseBatch& batch) const {
  NoiseNeeds needs;
  needs.factors_replace_second_moment = true;
  needs.kronecker_output = refreshes(batch.step);
  needs.kronecker_input = needs.kronecker_output && !options_.matrix_free;
  if (options_.matrix_free) {
    const double scale = options_.sizes.sign_scale(batch.samples) / static_cast<double>(batch.samples);
    needs.signs = {kernels::SignGrain::element, static_cast<float>(scale), batch.seed, batch.step};
  }
  return needs;
}

void KfacNoise::refresh(const NoiseStep& step, const KroneckerFactors& factors) const {
  const double samples = static_cast<double>(step.batch), terms = samples * static_cast<double>(factors.positions);
  kernels::cholesky(step.context.queue, factors.outputs, static_cast<float>(1 / terms), options_.jitter,
                    factors.output_sum.f32(), factors.output_root.f32());
  if (!options_.matrix_free)
    kernels::cholesky(step.context.queue, factors.inputs, static_cast<float>(1 / samples), options_.jitter,
                      factors.input_sum.f32(), factors.input_root.f32());
}

Tensor KfacNoise::draw(const NoiseStep& step, const KroneckerFactors& factors) const {
  Tensor z(step.context, {factors.outputs, factors.inputs});
  const RandomStream stream{step.seed, step.step, factors.weight->index, RandomPurpose::noise};
  kernels::random_normal(step.context.queue, z.elements(), 0.0f, 1.0f, stream, z.f32());
  return z;
}

Tensor KfacNoise::noise_of(const NoiseStep& step, const Parameter& parameter) const {
  const KroneckerFactors& factors = *parameter.kronecker;
  auto& queue = step.context.queue;
  const auto [first, count] = input_rows(parameter);
  Tensor rows = parameter.noise_sum;  // [outputs, count]: independent rows of covariance kappa A
  float scale = 1;
  if (!options_.matrix_free) {
    rows = Tensor(step.context, {factors.outputs, count});
    scale = static_cast<float>(std::sqrt(options_.sizes.kappa(step.batch)));
    kernels::gemm(queue, Transpose::no, Transpose::yes, factors.outputs, count, factors.inputs, 1.0f,
                  draw(step, factors).f32(), factors.input_root.f32() + first * factors.inputs, 0.0f, rows.f32());
  }
  Tensor noise(step.context, parameter.shape);
  kernels::gemm(queue, Transpose::no, Transpose::no, factors.outputs, count, factors.outputs, scale,
                factors.output_root.f32(), rows.f32(), 0.0f, noise.f32());
  return noise;
}

void KfacNoise::prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) {
  vectors_.clear();
  const double kappa = options_.sizes.kappa(step.batch);
  std::set<const KroneckerFactors*> refreshed;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Parameter& parameter = *step.parameters[i];
    if (!parameter.kronecker) {
      use_fisher_diagonal(step, parameter, kappa, segments[i]);
      continue;
    }
    if (refreshes(step.step) && refreshed.insert(parameter.kronecker).second) refresh(step, *parameter.kronecker);
    segments[i].explicit_noise = vectors_.emplace_back(noise_of(step, parameter)).f32();
  }
}

std::optional<double> KfacNoise::trace(const NoiseStep& step) const {
  if (options_.matrix_free) return {};
  double trace = 0;
  std::vector<Parameter*> others;
  for (Parameter* parameter : step.parameters) {
    if (!parameter->kronecker) {
      others.push_back(parameter);
      continue;
    }
    const KroneckerFactors& factors = *parameter->kronecker;
    const auto [first, count] = input_rows(*parameter);
    trace += squared_norm(step.context, factors.output_root.f32(), factors.output_root.elements()) *
             squared_norm(step.context, factors.input_root.f32() + first * factors.inputs, count * factors.inputs);
  }
  return options_.sizes.kappa(step.batch) * (trace + fisher_trace(step.context, step.fisher, others, step.batch));
}

}  // namespace noisysgd
