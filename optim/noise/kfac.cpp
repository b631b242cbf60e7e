#include <noisysgd/optim/noise/kfac.h>

#include <fmt/format.h>

#include <algorithm>

#include <noisysgd/kernels/cholesky.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/random.h>
#include <noisysgd/kernels/reduce.h>

namespace noisysgd {

using kernels::Transpose;

namespace {

// Rows of A's factor that belong to this parameter: the constant input for the bias, all others for the weight.
struct InputRows {
  int64_t first, count;
};

InputRows input_rows(const Parameter& parameter) {
  const KroneckerShape& shape = *parameter.kronecker;
  const int64_t inputs = shape.inputs - (shape.bias ? 1 : 0);
  return &parameter == shape.weight ? InputRows{0, inputs} : InputRows{inputs, 1};
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

NoiseCapabilities KfacNoise::capabilities() const {
  return {.second_moment = true,  // for parameters without factors
          .signs = options_.matrix_free ? kernels::SignGrain::element : kernels::SignGrain::none,
          .kronecker_input = !options_.matrix_free,
          .kronecker_output = true,
          .remembers = options_.refresh_every > 1};
}

NoiseCollects KfacNoise::collects(const NoiseBatch& batch, int64_t step) const {
  NoiseCollects collects;
  collects.factors_replace_second_moment = true;
  collects.kronecker_output = step % options_.refresh_every == 0;
  collects.kronecker_input = collects.kronecker_output && !options_.matrix_free;
  if (options_.matrix_free) {
    const double scale = options_.sizes.sign_scale(batch.samples) / static_cast<double>(batch.samples);
    collects.signs = {kernels::SignGrain::element, static_cast<float>(scale)};
  }
  return collects;
}

void KfacNoise::begin(Context& context, const ParameterSet& parameters) {
  for (const Parameter* parameter : parameters.list()) {
    const KroneckerShape* shape = parameter->kronecker;
    if (!shape || shape->weight != parameter) continue;
    roots_.push_back({shape, options_.matrix_free ? Tensor() : zeros(context, {shape->inputs, shape->inputs}),
                      zeros(context, {shape->outputs, shape->outputs})});
  }
}

void KfacNoise::visit_state(StateVisitor& visitor) const {
  for (const Roots& roots : roots_) {
    if (roots.input.defined()) visitor.visit("kfac.input." + roots.shape->weight->name, roots.input);
    visitor.visit("kfac.output." + roots.shape->weight->name, roots.output);
  }
}

const KfacNoise::Roots& KfacNoise::roots_of(const Parameter& parameter) const {
  for (const Roots& roots : roots_)
    if (roots.shape == parameter.kronecker) return roots;
  throw Error(fmt::format("kfac: parameter '{}' was not there when the run began", parameter.name));
}

void KfacNoise::refresh(const NoiseStep& step) const {
  for (const Roots& roots : roots_) {
    const KroneckerShape& shape = *roots.shape;
    const bool noisy = std::ranges::any_of(step.parameters, [&](const Parameter* p) { return p->kronecker == &shape; });
    if (!noisy) continue;
    const KroneckerSums& sums = *step.sums.kronecker_of(shape);
    const double samples = static_cast<double>(step.batch), terms = samples * static_cast<double>(shape.positions);
    kernels::cholesky(step.context.queue, shape.outputs, static_cast<float>(1 / terms), options_.jitter,
                      sums.output.f32(), roots.output.f32());
    if (!options_.matrix_free)
      kernels::cholesky(step.context.queue, shape.inputs, static_cast<float>(1 / samples), options_.jitter,
                        sums.input.f32(), roots.input.f32());
  }
}

Tensor KfacNoise::draw(const NoiseStep& step, const KroneckerShape& shape) const {
  Tensor z(step.context, {shape.outputs, shape.inputs});
  const RandomStream stream{step.seed, step.step, shape.weight->index, RandomPurpose::noise};
  kernels::random_normal(step.context.queue, z.elements(), 0.0f, 1.0f, stream, z.f32());
  return z;
}

Tensor KfacNoise::noise_of(const NoiseStep& step, const Parameter& parameter) const {
  const KroneckerShape& shape = *parameter.kronecker;
  const Roots& roots = roots_of(parameter);
  auto& queue = step.context.queue;
  const auto [first, count] = input_rows(parameter);
  Tensor rows;  // [outputs, count]: independent rows of covariance kappa A
  const float* row_values = step.sums.signed_sum.at(parameter);
  float scale = 1;
  if (!options_.matrix_free) {
    rows = Tensor(step.context, {shape.outputs, count});
    row_values = rows.f32();
    scale = static_cast<float>(std::sqrt(options_.sizes.kappa(step.batch)));
    kernels::gemm(queue, Transpose::no, Transpose::yes, shape.outputs, count, shape.inputs, 1.0f,
                  draw(step, shape).f32(), roots.input.f32() + first * shape.inputs, 0.0f, rows.f32());
  }
  Tensor noise(step.context, parameter.shape);
  kernels::gemm(queue, Transpose::no, Transpose::no, shape.outputs, count, shape.outputs, scale, roots.output.f32(),
                row_values, 0.0f, noise.f32());
  return noise;
}

void KfacNoise::prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) {
  if (step.collected.kronecker_output) refresh(step);
  const double kappa = options_.sizes.kappa(step.batch);
  for (size_t i = 0; i < fields.size(); ++i) {
    const Parameter& parameter = *step.parameters[i];
    if (parameter.kronecker)
      fields[i].vector = step.kept.emplace_back(noise_of(step, parameter)).f32();
    else
      use_fisher_diagonal(step, parameter, kappa, fields[i]);
  }
}

Tensor KfacNoise::trace(const NoiseStep& step) const {
  if (options_.matrix_free) return {};
  std::vector<kernels::SummedTensor> roots;  // two consecutive targets for each parameter with factors
  std::vector<Parameter*> others;
  for (Parameter* parameter : step.parameters) {
    if (!parameter->kronecker) {
      others.push_back(parameter);
      continue;
    }
    const Roots& layer = roots_of(*parameter);
    const auto [first, count] = input_rows(*parameter);
    const auto target = static_cast<int32_t>(roots.size());
    const int64_t inputs = layer.shape->inputs;
    roots.push_back({layer.output.elements(), layer.output.f32(), target});
    roots.push_back({count * inputs, layer.input.f32() + first * inputs, target + 1});
  }
  const auto targets = static_cast<int32_t>(roots.size());
  const Tensor sums(step.context, {targets, 2}, DType::f64);
  kernels::tensor_sums(step.context.queue, roots, targets, sums.data<double>());
  const Tensor rest = fisher_trace(step.context, step.fisher, others);
  std::vector<kernels::ScalarTerm> terms;
  for (int32_t i = 0; i < targets; i += 2)
    terms.push_back({1, sums.data<double>() + 2 * i + 1, sums.data<double>() + 2 * i + 3});
  terms.push_back({1, rest.data<double>()});
  Tensor trace(step.context, {1}, DType::f64);
  kernels::weighted_total(step.context.queue, options_.sizes.kappa(step.batch), 0, terms, trace.data<double>());
  return trace;
}

}  // namespace noisysgd
