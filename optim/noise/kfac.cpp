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
  const double kappa = options_.sizes.kappa(step.batch);
  std::set<const KroneckerFactors*> refreshed;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Parameter& parameter = *step.parameters[i];
    if (!parameter.kronecker) {
      use_fisher_diagonal(step, parameter, kappa, segments[i]);
      continue;
    }
    if (refreshes(step.step) && refreshed.insert(parameter.kronecker).second) refresh(step, *parameter.kronecker);
    segments[i].explicit_noise = step.vectors.emplace_back(noise_of(step, parameter)).f32();
  }
}

Tensor KfacNoise::trace(const NoiseStep& step) const {
  if (options_.matrix_free) return {};
  std::vector<kernels::SummedTensor> roots;  // of two consecutive targets for each parameter with factors
  std::vector<Parameter*> others;
  for (Parameter* parameter : step.parameters) {
    if (!parameter->kronecker) {
      others.push_back(parameter);
      continue;
    }
    const KroneckerFactors& factors = *parameter->kronecker;
    const auto [first, count] = input_rows(*parameter);
    const auto target = static_cast<int32_t>(roots.size());
    roots.push_back({factors.output_root.elements(), factors.output_root.f32(), target});
    roots.push_back({count * factors.inputs, factors.input_root.f32() + first * factors.inputs, target + 1});
  }
  const auto targets = static_cast<int32_t>(roots.size());
  const Tensor sums(step.context, {targets, 2}, DType::f64);
  kernels::tensor_sums(step.context.queue, roots, targets, sums.data<double>());
  const Tensor rest = fisher_trace(step.context, step.fisher, others, step.batch);
  std::vector<kernels::ScalarTerm> terms;
  for (int32_t i = 0; i < targets; i += 2)
    terms.push_back({1, sums.data<double>() + 2 * i + 1, sums.data<double>() + 2 * i + 3});
  terms.push_back({1, rest.data<double>()});
  Tensor trace(step.context, {1}, DType::f64);
  kernels::weighted_total(step.context.queue, options_.sizes.kappa(step.batch), 0, terms, trace.data<double>());
  return trace;
}

}  // namespace noisysgd
