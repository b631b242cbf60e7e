// The interface of a noise structure: what a step adds to the mean gradient, eps ~ (0, covariance). One file per
// structure in this folder. A structure fills one NoiseField per parameter (kernels/noise_field.h) from
//   * the sums that every step has: the gradient, and the second moment if it asks for it;
//   * sums that it has the layers' backward collect (`collects`): sums with random signs, Kronecker factors;
//   * weights u_n of the samples: eps = (1/M) sum_n u_n g_n. As loss weights 1 + u_n in the one backward pass, which
//     then leaves g + eps in the gradient sums, at no cost; or as a second backward pass with weights u_n where the
//     gradient must stay unweighted: noise after the momentum buffer, for some parameters only, true Fisher,
//     match_trace, clipping, or statistics of the gradient in the same step;
//   * state of its own, which it names in visit_state.
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

// What a structure may ask for in any step; the same for all of them.
struct NoiseCapabilities {
  bool second_moment = false;  // sum_n g_n^2, by the configured Fisher estimator
  bool sample_weights = false;
  kernels::SignGrain signs = kernels::SignGrain::none;
  bool signed_variance = false;  // under match_trace: the variance of the signs' noise
  bool kronecker_input = false, kronecker_output = false;
  // A step draws on what earlier steps have collected: those whose batch gets no noise collect it too.
  bool remembers = false;
  // prepare makes the host wait for the device, or reads the step number: every step is issued anew
  // (core/step_graph.h).
  bool needs_host = false;
};

// What one step collects for the noise beside the second moment.
struct NoiseCollects {
  auto operator<=>(const NoiseCollects&) const = default;

  SignedSums signs = {};
  bool kronecker_input = false, kronecker_output = false;
  // Parameters with Kronecker factors need no second moment.
  bool factors_replace_second_moment = false;
  // With sample weights: the labels of the gradients that they weigh; none: those that F is made of.
  std::optional<Labels> labels = {};
  // Whatever else prepare is to do differently from step to step: steps of equal numbers are alike.
  int64_t variant = 0;
};

// What a structure sees when a step is due: sums over `batch` samples are there.
struct NoiseStep {
  Context& context;
  const std::vector<Parameter*>& parameters;  // that get noise
  const Sums& sums;
  const FisherStep& fisher;
  int64_t batch = 0;
  uint64_t seed = 0;
  StepNumber step = 0;             // for random streams; its value on the host is hidden
  const NoiseCollects& collected;  // what `collects` gave for this step
  std::vector<Tensor>& kept;       // keeps what the fields point at until the step is issued
};

class NoiseStructure {
 public:
  virtual ~NoiseStructure() = default;

  virtual NoiseCapabilities capabilities() const { return {}; }
  // False: the batch is so small already that it gets no noise.
  virtual bool acts_on(int64_t /*samples*/) const { return true; }
  // What the passes of this step collect: within `capabilities`. The one place to decide anything by the step's number.
  virtual NoiseCollects collects(const NoiseBatch&, int64_t /*step*/) const { return {}; }
  // What the weights u_n of the whole batch are (micro-batches take their share).
  virtual std::optional<kernels::SampleWeights> sample_weights(const NoiseBatch&) const { return {}; }

  // Allocates its state for a run, as a step before the first would have left it.
  virtual void begin(Context&, const ParameterSet&) {}
  // Names the tensors that it keeps from step to step: they are saved in checkpoints and restored.
  virtual void visit_state(StateVisitor&) const {}

  // [1] f64: the trace of the covariance for these parameters, for match_trace; undefined where it is not known
  // beforehand. Asked for before the first step, too, to see whether it is: the sums are 0 then.
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
  // [1] f64: factor tr F, or with S^2 in F's place if centred, of the samples' own gradients that loss weights and
  // signs act on. Throws Error where the configured diag(F) is of something else.
  static Tensor trace_of_samples(const NoiseStep& step, double factor, bool centered = false);
  // [1] f64: a trace that the host knows.
  static Tensor constant_trace(const NoiseStep& step, double value);
  // The explicit vectors that backward passes left in the signed sums.
  static void use_signed_sums(const NoiseStep& step, std::span<kernels::NoiseField> fields) {
    for (size_t i = 0; i < fields.size(); ++i) fields[i].vector = step.sums.signed_sum.at(*step.parameters[i]);
  }

 private:
  friend class Noise;
  bool begun_ = false;
};

// kappa = (M_L - M_S)/(M_L M_S): the covariance of a mean over M_S samples drawn without replacement from M_L is kappa
// S^2. 0 for a batch that is not larger than M_S: it gets no noise.
double noise_kappa(int64_t large_batch, int64_t small_batch);

// Trainable scalars of these parameters.
int64_t count_elements(const std::vector<Parameter*>& parameters);

// A number that noise is multiplied by, at least 0, whose square is a variance in single precision too.
double read_amplitude(const ConfigReader& json, std::string_view key, std::optional<double> default_value = {});

// The keys small_batch and large_batch of the structures that stand in for the noise of a small batch.
struct NoiseBatchSizes {
  int64_t small_batch = 128;
  // None: the size of each batch, so that a shorter last one gets less.
  std::optional<int64_t> large_batch = {};

  static NoiseBatchSizes read(const ConfigReader& json);
  double kappa(int64_t batch) const { return noise_kappa(large_batch.value_or(batch), small_batch); }
  bool act_on(int64_t batch) const { return kappa(batch) > 0; }
  // s with covariance of (s/M) sum_n sigma_n g_n = kappa F
  double sign_scale(int64_t batch) const { return std::sqrt(kappa(batch) * static_cast<double>(batch)); }
};

}  // namespace noisysgd
