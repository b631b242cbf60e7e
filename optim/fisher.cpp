#include "optim/fisher.h"

#include <algorithm>

#include "kernels/reduce.h"

namespace noisysgd {

FisherOptions read_fisher(const ConfigReader& json) {
  FisherOptions options;
  options.conv = json.choice<SecondMoment>("conv",
                                           {{"exact", SecondMoment::exact},
                                            {"spatial", SecondMoment::spatial},
                                            {"spatial_mean", SecondMoment::spatial_mean}},
                                           SecondMoment::exact);
  options.labels = json.choice<FisherLabels>(
      "kind", {{"empirical", FisherLabels::data}, {"true", FisherLabels::sampled}}, FisherLabels::data);
  options.centered = json.boolean("centered", false);
  json.choice("batch_norm", {"activation"}, "activation");
  if (options.centered && options.conv != SecondMoment::exact)
    json.error("centered", "needs \"conv\": \"exact\": only the exact second moment has the mean gradient to subtract");
  if (options.centered && options.labels == FisherLabels::sampled)
    json.error("centered", "needs \"kind\": \"empirical\": the mean gradient under sampled labels is not kept");
  return options;
}

kernels::NoiseCoefficients fisher_diagonal_coefficients(const FisherOptions& options, const Parameter& parameter,
                                                        int64_t batch) {
  const double samples = static_cast<double>(batch);
  kernels::NoiseCoefficients coefficients;
  if (options.centered) {
    NSGD_CHECK(batch > 1, "the centred Fisher matrix of a single sample is not defined");
    coefficients.second_moment = static_cast<float>(1 / (samples - 1));
    coefficients.gradient_sum = static_cast<float>(-1 / (samples * (samples - 1)));
  } else {
    coefficients.second_moment = static_cast<float>(1 / samples);
  }
  if (options.conv == SecondMoment::spatial_mean) coefficients.second_moment /= static_cast<float>(parameter.positions);
  return coefficients;
}

double fisher_trace(Context& context, const FisherOptions& options, const std::vector<Parameter*>& parameters,
                    int64_t batch) {
  double trace = 0;
  for (const Parameter* parameter : parameters) {
    const kernels::NoiseCoefficients c = fisher_diagonal_coefficients(options, *parameter, batch);
    kernels::TensorSums squares, sums;
    kernels::tensor_sums(context.queue, parameter->shape.elements(), parameter->second_moment.f32(), &squares);
    trace += double{c.second_moment} * squares.sum;
    if (c.gradient_sum == 0) continue;
    kernels::tensor_sums(context.queue, parameter->shape.elements(), parameter->gradient_sum.f32(), &sums);
    trace += double{c.gradient_sum} * sums.sum_of_squares;
  }
  return trace;
}

void fisher_diagonal(const FisherOptions& options, const Parameter& parameter, int64_t batch, float* diagonal) {
  const kernels::NoiseCoefficients c = fisher_diagonal_coefficients(options, parameter, batch);
  const auto sums = parameter.gradient_sum.span<float>(), squares = parameter.second_moment.span<float>();
  for (size_t i = 0; i < sums.size(); ++i)
    diagonal[i] = std::max(0.0f, c.second_moment * squares[i] + c.gradient_sum * sums[i] * sums[i]);
}

}  // namespace noisysgd
