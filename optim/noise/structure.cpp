#include <noisysgd/optim/noise/structure.h>

#include <fmt/format.h>

#include <algorithm>

namespace noisysgd {

double noise_kappa(int64_t large_batch, int64_t small_batch) {
  if (large_batch <= small_batch) return 0;
  return 1.0 / static_cast<double>(small_batch) - 1.0 / static_cast<double>(large_batch);
}

int64_t count_elements(const std::vector<Parameter*>& parameters) {
  int64_t count = 0;
  for (const Parameter* parameter : parameters) count += parameter->shape.elements();
  return count;
}

double read_amplitude(const ConfigReader& json, std::string_view key, std::optional<double> default_value) {
  const double value = json.number(key, {.default_value = default_value, .at_least = 0, .at_most = 1e18});
  if (value != 0 && value < 1e-18) json.error(key, fmt::format("must be 0 or at least 1e-18, got {}", value));
  return value;
}

NoiseBatchSizes NoiseBatchSizes::read(const ConfigReader& json) {
  NoiseBatchSizes sizes;
  sizes.small_batch = json.integer("small_batch", {.default_value = sizes.small_batch, .at_least = 1});
  sizes.large_batch = json.optional_integer("large_batch", {.at_least = 1});
  if (sizes.large_batch && *sizes.large_batch <= sizes.small_batch)
    json.error("large_batch",
               fmt::format("must be above small_batch ({}): otherwise there is no noise to add", sizes.small_batch));
  return sizes;
}

Tensor NoiseStructure::constant_trace(const NoiseStep& step, double value) {
  Tensor trace(step.context, {1}, DType::f64);
  kernels::weighted_total(step.context.queue, 1, value, std::span<const kernels::ScalarTerm>(), trace.data<double>());
  return trace;
}

Tensor NoiseStructure::trace_of_samples(const NoiseStep& step, double factor, bool centered) {
  const FisherOptions& fisher = step.fisher.options;
  const bool one_position =
      std::ranges::all_of(step.parameters, [](const Parameter* parameter) { return parameter->positions == 1; });
  NSGD_CHECK(
      fisher.conv == SecondMoment::exact || one_position,
      "noise.match_trace: this noise is made of whole gradients, whose trace needs fisher.conv of \"exact\", not "
      "\"{}\"",
      name_of(fisher.conv));
  NSGD_CHECK(fisher.batch_norm == GhostFisher::activation,
             "noise.match_trace: this noise is made of single gradients, whose trace needs fisher.batch_norm of "
             "\"activation\", not \"{}\"",
             fisher.batch_norm_name());
  NSGD_CHECK(!fisher.kept(),
             "noise.match_trace: this noise is made of the step's own gradients, whose trace needs "
             "fisher.refresh_every of 1 and fisher.ema of 0");
  NSGD_CHECK(!centered || fisher.labels == Labels::data,
             "noise.match_trace: this noise is centred, and the mean gradient at sampled labels is not kept; it needs "
             "fisher.kind of \"empirical\"");
  FisherOptions own = fisher;
  own.centered = centered;
  return fisher_trace(step.context, {own, step.sums, step.batch, step.fisher.average}, step.parameters, factor);
}

}  // namespace noisysgd
