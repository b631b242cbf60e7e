// The diagonal of the Fisher matrix, from the sums that backward collects (Eqn 4 and Section 4 of the paper).
// With Q = sum_n g_n^2 and S = sum_n g_n over M samples: diag(F) = Q/M, centred (Q - S^2/M)/(M-1).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/statistics.h>
#include <noisysgd/core/sums.h>
#include <noisysgd/kernels/noise_field.h>
#include <noisysgd/layers/model.h>

namespace noisysgd {

// Key "batch_norm": the contribution of a sample to diag(F) if ghost batches couple their samples.
enum class GhostFisher {
  activation,           // delta times activation, from one backward pass
  activation_centered,  // without the part that cancels in a ghost batch: layers/centered_sums.h
  // D = B Var_b(G_b) over the mean gradients G_b of ghost batches of B samples, with one forward and backward pass
  // each. At M_S = B, kappa D is the variance of small batches including their coupling.
  ghost_variance,
};

struct FisherOptions {
  SecondMoment conv = SecondMoment::exact;
  Labels labels = Labels::data;  // "kind": empirical (data) or true (sampled)
  bool centered = false;
  GhostFisher batch_norm = GhostFisher::activation;
  int64_t ghost_size = 0;     // B, for ghost_variance
  int64_t refresh_every = 1;  // steps from one collection of the second moment to the next; the first is step 0
  double ema = 0;             // weight of the old average at a refresh

  // True if noise uses a diag(F) that is kept between steps, the last one or a running average, instead of the sums of
  // its own step.
  bool kept() const { return refresh_every > 1 || ema > 0; }
  bool refreshes(int64_t step) const { return step % refresh_every == 0; }
  // Sets the statistics that backward passes collect for diag(F).
  void collect(Statistics& statistics) const {
    statistics.second_moment = collected_for(conv);
    statistics.center_normalised = batch_norm == GhostFisher::activation_centered;
  }
  // Samples per pass if the gradient of each pass is squared as a whole; 0: layers square the gradients of samples.
  int64_t squared_pass_samples() const { return batch_norm == GhostFisher::ghost_variance ? ghost_size : 0; }
  FisherOptions of_one_batch() const {
    FisherOptions options = *this;
    options.refresh_every = 1;
    options.ema = 0;
    return options;
  }
  std::string_view kind() const { return labels == Labels::data ? "empirical" : "true"; }
  std::string_view batch_norm_name() const;
};

// ghost_size: the configured batch.ghost_size, for ghost_variance.
FisherOptions read_fisher(const ConfigReader& json, std::optional<int64_t> ghost_size = {});

// Throws Error, naming the layer, if activation_centered is set and does not apply to the network.
void check_network(const FisherOptions& options, const Graph& graph);

// The coefficients cQ and cS of D_i = cQ Q_i + cS S_i^2, clamped at 0, for one parameter.
kernels::NoiseCoefficients fisher_diagonal_coefficients(const FisherOptions& options, const Parameter& parameter,
                                                        int64_t batch);

// The inputs of diag(F) in a step: the sums of its batch, or an average over steps.
struct FisherStep {
  const FisherOptions& options;
  const Sums& sums;
  int64_t batch = 0;     // samples in the sums
  const Block& average;  // defined if options.kept()
};

// diag(F) of one parameter as an input of noise: from its sums with their coefficients, or from its average with
// coefficient 1.
struct FisherSource {
  kernels::NoiseCoefficients coefficients;
  const float* second_moment = nullptr;
};
FisherSource fisher_source(const FisherStep& fisher, const Parameter& parameter);

// Updates the average with the sums of this step; first: sets it to their diag(F).
void update_fisher_average(Context& context, const FisherStep& fisher, const std::vector<Parameter*>& parameters,
                           bool first);

// The layer of a parameter: its name before the last dot.
std::string layer_name(const Parameter& parameter);

struct LayerFisher {
  std::string layer;
  double trace = 0, diagonal_norm = 0;                             // tr F_l and the Frobenius norm of diag F_l
  std::optional<double> variance_ratio = {}, effective_rank = {};  // optim/group_statistics.h
};
// The layers of these parameters, in their order.
std::vector<std::string> layer_names(const std::vector<Parameter*>& parameters);
// Writes sums [layers,2] f64, from the sums of one batch: tr F_l and the squared Frobenius norm of diag F_l.
void layer_fisher(Context& context, const FisherStep& fisher, const std::vector<Parameter*>& parameters,
                  const Tensor& sums);
// The same from a copy of these sums on the host.
std::vector<LayerFisher> read_layer_fisher(const std::vector<Parameter*>& parameters, const double* sums);

// [1] f64: factor tr F over the given parameters, tr F = sum_i D_i without the clamp.
Tensor fisher_trace(Context& context, const FisherStep& fisher, const std::vector<Parameter*>& parameters,
                    double factor = 1);

// diagonal[i] = D_i of one parameter, in its memory order, from the sums of one batch in host memory.
void fisher_diagonal(const FisherOptions& options, const Parameter& parameter, int64_t batch,
                     std::span<const float> gradient_sum, std::span<const float> second_moment, float* diagonal);

}  // namespace noisysgd
