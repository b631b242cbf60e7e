#include "optim/fisher.h"

#include <algorithm>

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

void fisher_diagonal(const FisherOptions& options, const Parameter& parameter, int64_t batch, float* diagonal) {
  fisher_diagonal(options, parameter, batch, parameter.gradient_sum.span<float>(),
                  parameter.second_moment.span<float>(), diagonal);
}

void fisher_diagonal(const FisherOptions& options, const Parameter& parameter, int64_t batch,
                     std::span<const float> sums, std::span<const float> squares, float* diagonal) {
  const kernels::NoiseCoefficients c = fisher_diagonal_coefficients(options, parameter, batch);
  for (size_t i = 0; i < sums.size(); ++i)
    diagonal[i] = std::max(0.0f, c.second_moment * squares[i] + c.gradient_sum * sums[i] * sums[i]);
}

}  // namespace noisysgd
