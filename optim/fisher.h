// From the sums that backward collects to the diagonal of the Fisher matrix (Eqn 4 and Section 4 of the paper).
// With Q = sum_n g_n^2 and S = sum_n g_n over M samples: diag(F) = Q/M, centred (Q - S^2/M)/(M-1).
#pragma once

#include <cstdint>

#include "core/config.h"
#include "core/parameter.h"
#include "core/statistics.h"
#include "kernels/sgd_step.h"
#include "layers/model.h"

namespace noisysgd {

struct FisherOptions {
  SecondMoment conv = SecondMoment::exact;
  FisherLabels labels = FisherLabels::data;  // "kind": empirical or true
  bool centered = false;

  std::string_view kind() const { return labels == FisherLabels::data ? "empirical" : "true"; }
};

FisherOptions read_fisher(const ConfigReader& json);

// D_i = cQ Q_i + cS S_i^2, clamped at 0: the coefficients for one parameter.
kernels::NoiseCoefficients fisher_diagonal_coefficients(const FisherOptions& options, const Parameter& parameter,
                                                        int64_t batch);

// tr F over the given parameters: sum_i D_i without the clamp.
double fisher_trace(Context& context, const FisherOptions& options, const std::vector<Parameter*>& parameters,
                    int64_t batch);

// diagonal[i] = D_i of one parameter, in its memory order.
void fisher_diagonal(const FisherOptions& options, const Parameter& parameter, int64_t batch, float* diagonal);

}  // namespace noisysgd
