// The interface of a noise structure: the noise eps ~ (0, covariance) that a step adds to the mean gradient. One file
// per structure in this folder. A structure fills one NoiseField per parameter (kernels/noise_field.h) from
//   * the sums of every step: the gradient, and the second moment on request;
//   * sums that layers collect in backward on request (`collects`): sums with random signs, Kronecker factors;
//   * weights u_n of the samples: eps = (1/M) sum_n u_n g_n. With loss weights 1 + u_n the one backward pass leaves
//     g + eps in the gradient sums, at no cost. A second backward pass with weights u_n is needed if the gradient must
//     stay unweighted: for noise after the momentum buffer or for some parameters only, true Fisher, match_trace,
//     clipping, or statistics of the gradient in the same step;
//   * its own state, which it names in visit_state.
#pragma once

#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/state.h>
#include <noisysgd/kernels/sample_weights.h>
#include <noisysgd/kernels/step_factors.h>
#include <noisysgd/optim/fisher.h>

namespace noisysgd {

// The batch that the noise of a step is formed on.
struct NoiseBatch {
  int64_t samples = 0;
  int64_t ghost_size = 0;  // of the network's ghost batch normalisation, or 0
};

// Everything that a structure may request in any step; constant.
struct NoiseCapabilities {
  bool second_moment = false;  // sum_n g_n^2, by the configured Fisher estimator
  bool sample_weights = false;
  kernels::SignGrain signs = kernels::SignGrain::none;
  bool signed_variance = false;  // under match_trace: the variance of the noise from signs
  bool kronecker_input = false, kronecker_output = false;
  // The noise uses sums of earlier steps. Steps without noise for their batch therefore collect them too.
  bool remembers = false;
  // prepare makes the host wait for the device, or reads the step number. Steps are then not recorded as graphs
  // (core/step_graph.h).
  bool needs_host = false;
};

// What one step collects for the noise in addition to the second moment.
struct NoiseCollects {
  auto operator<=>(const NoiseCollects&) const = default;

  SignedSums signs = {};
  bool kronecker_input = false, kronecker_output = false;
  // Parameters with Kronecker factors need no second moment.
  bool factors_replace_second_moment = false;
  // With sample weights: the labels of the weighted gradients; none: the labels of F.
  std::optional<Labels> labels = {};
  // Any other difference between steps in the ops of prepare: steps with equal values issue the same ops.
  int64_t variant = 0;
};

// The input of prepare, after the sums over `batch` samples are complete.
struct NoiseStep {
  Context& context;
  const std::vector<Parameter*>& parameters;  // that get noise
  const Sums& sums;
  const FisherStep& fisher;
  int64_t batch = 0;
  uint64_t seed = 0;
  StepNumber step = 0;             // for random streams; its value on the host is hidden
  const NoiseCollects& collected;  // the result of `collects` for this step
  std::vector<Tensor>& kept;       // owns tensors to which the fields point until the step is issued
};

class NoiseStructure {
 public:
  virtual ~NoiseStructure() = default;

  virtual NoiseCapabilities capabilities() const { return {}; }
  // False if a batch of this size gets no noise, because it is already as small as the batch to be emulated.
  virtual bool acts_on(int64_t /*samples*/) const { return true; }
  // What the passes of this step collect, within `capabilities`. The only function of a structure whose result may depend
  // on the step number.
  virtual NoiseCollects collects(const NoiseBatch&, int64_t /*step*/) const { return {}; }
  // The distribution of the weights u_n of the whole batch; micro-batches use their part of these.
  virtual std::optional<kernels::SampleWeights> sample_weights(const NoiseBatch&) const { return {}; }

  // Allocates the state for a run, with its values before the first step.
  virtual void begin(Context&, const ParameterSet&) {}
  // Names the tensors that persist between steps: they are saved in checkpoints and restored.
  virtual void visit_state(StateVisitor&) const {}

  // [1] f64: the trace of the covariance for these parameters, for match_trace; undefined if it is not known before the
  // draw. Also called before the first step, with sums of 0, to check whether it is known.
  virtual Tensor trace(const NoiseStep&) const { return {}; }
  // Sets fields[i], which belongs to step.parameters[i] and is empty on entry.
  virtual void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) = 0;

 protected:
  // Gaussian noise of covariance kappa diag(F).
  static void use_fisher_diagonal(const NoiseStep& step, const Parameter& parameter, double kappa,
                                  kernels::NoiseField& field) {
    const FisherSource source = fisher_source(step.fisher, parameter);
    field.variance = source.coefficients.scaled(kappa);
    field.second_moment = source.second_moment;
  }
  // [1] f64: factor tr F, or factor tr S^2 if centered, of the gradients of single samples, which loss weights and
  // signs multiply. Throws Error if the configured diag(F) is not that of these gradients.
  static Tensor trace_of_samples(const NoiseStep& step, double factor, bool centered = false);
  // [1] f64: a trace with a value known on the host.
  static Tensor constant_trace(const NoiseStep& step, double value);
  // Uses the vectors that backward passes have left in the signed sums.
  static void use_signed_sums(const NoiseStep& step, std::span<kernels::NoiseField> fields) {
    for (size_t i = 0; i < fields.size(); ++i) fields[i].vector = step.sums.signed_sum.at(*step.parameters[i]);
  }

 private:
  friend class Noise;
  bool begun_ = false;
};

// kappa = (M_L - M_S)/(M_L M_S): the covariance of a mean over M_S samples drawn without replacement from M_L is kappa
// S^2. 0 for a batch of at most M_S samples, which gets no noise.
double noise_kappa(int64_t large_batch, int64_t small_batch);

// Trainable scalars of these parameters.
int64_t count_elements(const std::vector<Parameter*>& parameters);

// Reads a factor of noise: 0, or large enough that its square, a variance, is representable in single precision.
double read_amplitude(const ConfigReader& json, std::string_view key, std::optional<double> default_value = {});

// The keys small_batch and large_batch of the structures that emulate the noise of a small batch.
struct NoiseBatchSizes {
  int64_t small_batch = 128;
  // None: the actual size of each batch; a shorter last batch then gets less noise.
  std::optional<int64_t> large_batch = {};

  static NoiseBatchSizes read(const ConfigReader& json);
  double kappa(int64_t batch) const { return noise_kappa(large_batch.value_or(batch), small_batch); }
  bool act_on(int64_t batch) const { return kappa(batch) > 0; }
  // The s for which (s/M) sum_n sigma_n g_n has covariance kappa F.
  double sign_scale(int64_t batch) const { return std::sqrt(kappa(batch) * static_cast<double>(batch)); }
};

}  // namespace noisysgd
