// Norms of the Fisher matrix F = (1/M) sum_n g_n g_n' of M samples over all parameters of a network, from the gradients
// of the samples: their inner products K_nm = g_n . g_m hold all that a norm needs, and F is never formed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <noisysgd/layers/model.h>

namespace noisysgd {

struct SampleGradientOptions {
  Labels labels = Labels::data;
  uint64_t seed = 1;     // of drawn labels and dropout
  int64_t pass = 0;      // samples of a forward and backward pass; 0: all
};

// [M,ParameterSet::padded]: row n holds g_n, laid out as a Block, as one backward pass in training mode holds it
// (fisher.batch_norm of "activation" where samples are coupled). Moves running statistics, as any step does. Throws
// Error naming a parameter whose layer does not give them.
Tensor sample_gradients(Model& model, const Batch& batch, const SampleGradientOptions& options = {});

struct FisherNorms {
  int64_t samples = 0;
  // Of F itself, the "plug-in" values.
  double trace = 0;
  double norm = 0;           // Frobenius, blocks between layers included
  double diagonal_norm = 0;  // of diag F
  // Squares for the matrix of the population that the samples are drawn from, each an unbiased mean over pairs of
  // different samples: sum_{n != m} K_nm^2 / (M(M-1)) and sum_i sum_{n != m} g_ni^2 g_mi^2 / (M(M-1)).
  double population_norm_squared = 0, population_diagonal_norm_squared = 0;
  double mean_fourth_power = 0;  // of the |g_n|
  // (tr F)^2 / ||F||^2 of the population, by means over pairs: how many directions share the trace.
  double effective_rank = 0;

  // ||F_N||^2 for N samples of the population: (1 - 1/N) U + (1/N) E|g|^4. At N = samples the plug-in value.
  double norm_squared_of(double n) const {
    return (1 - 1 / n) * population_norm_squared + mean_fourth_power / n;
  }
};

// At least two rows.
FisherNorms fisher_norms(Context& context, const Tensor& rows);

// The same norm from draws of noise: of independent vectors e_r with mean 0 and covariance factor * F, the mean of
// (e_r . e_q)^2 over pairs is factor^2 ||F||^2, and F need not be of single samples.
struct NormFromDraws {
  double squared = 0;         // ||F||^2
  double standard_error = 0;  // of `squared`, by the jackknife over draws
};
// draws: at least 3 vectors of one length.
NormFromDraws norm_from_draws(Context& context, std::span<const std::vector<float>> draws, double factor);

}  // namespace noisysgd
