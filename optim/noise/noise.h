// The interface of a noise structure: what a step adds to the mean gradient, eps ~ (0, covariance). One file per
// structure in this folder. A structure is one of three kinds, by what it overrides beside prepare:
//   * coefficients of a coordinate-wise Gaussian variance c0 + cQ Q + cS S^2, drawn inside the fused step
//     (kernels/sgd_step.h), or an explicit vector per parameter: prepare alone;
//   * sample_weights: eps = (1/M) sum_n u_n g_n. As loss weights 1 + u_n in the one backward pass, which then leaves
//     g + eps in the gradient sums, at no cost; or as a second backward pass with weights u_n where the gradient must
//     stay unweighted: noise after the momentum buffer, for some parameters only, true Fisher, match_trace, clipping,
//     or statistics of the gradient in the same step;
//   * needs: sums that the layers' backward adds to Parameter::noise_sum or the Kronecker factors.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/parameter.h"
#include "kernels/sample_weights.h"
#include "kernels/sgd_step.h"
#include "kernels/step_factors.h"
#include "optim/fisher.h"

namespace noisysgd {

// What a structure sees when a step is due: sums over `batch` samples are in the parameters.
struct NoiseStep {
  Context& context;
  const std::vector<Parameter*>& parameters;
  const FisherOptions& fisher;
  int64_t batch = 0;
  uint64_t seed = 0;
  StepNumber step = 0;
  std::vector<Tensor>& vectors;  // keeps what the segments point at until the step is issued
  bool in_gradient = false;      // the gradient sums hold the noise already: it came as loss weights
};

// The batch that the noise of a step is formed on.
struct NoiseBatch {
  int64_t samples = 0;
  int64_t ghost_size = 0;  // of the network's ghost batch normalisation, or 0
  uint64_t seed = 0;
  StepNumber step = 0;
};

// What the backward passes of a step collect for the noise, beside the second moment.
struct NoiseNeeds {
  SignedSums signs = {};
  bool kronecker_input = false, kronecker_output = false;
  // Parameters with Kronecker factors need no second moment.
  bool factors_replace_second_moment = false;
  // match_trace takes the trace of the signs' noise from Parameter::noise_variance.
  bool trace_of_signs = false;
  bool waits = false;  // prepare makes the host wait for the device: the step cannot be recorded (core/step_graph.h)
  NoiseLabels labels = NoiseLabels::fisher;  // with sample_weights: the labels of the gradients that they weigh
};

class NoiseStructure {
 public:
  virtual ~NoiseStructure() = default;
  // False if a batch of so many samples gets no noise, as it lacks none.
  virtual bool acts_on(int64_t) const { return true; }
  // True if a step draws on what earlier steps have collected: those of batches that get no noise collect it too.
  virtual bool remembers() const { return false; }
  // True if the structure needs sum_n g_n^2, collected in backward by the configured Fisher estimator.
  virtual bool needs_second_moment() const { return false; }
  virtual NoiseNeeds needs(const NoiseBatch&) const { return {}; }
  // What the weights u_n of the whole batch are, for a structure that weighs samples (micro-batches take their share).
  virtual std::optional<kernels::SampleWeights> sample_weights(const NoiseBatch&) const { return {}; }
  // [1] f64: the trace of the covariance for these parameters, for match_trace; undefined where it is not known
  // beforehand. Asked for before the first step, too, to see whether it is: the sums are 0 then.
  virtual Tensor trace(const NoiseStep&) const { return {}; }
  // Sets `noise` or `explicit_noise` of segments[i], which belongs to parameters[i]; both are empty on entry. Only
  // parameters that get noise are here.
  virtual void prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) = 0;

 protected:
  // Gaussian noise of covariance kappa diag(F).
  static void use_fisher_diagonal(const NoiseStep& step, const Parameter& parameter, double kappa,
                                  kernels::SgdSegment& segment) {
    const FisherSource source = fisher_source(step.fisher, parameter, step.batch);
    segment.noise = source.coefficients.scaled(kappa);
    segment.second_moment = source.second_moment;
  }
  // [1] f64: factor tr F, or with S^2 in F's place if centred, of the samples' own gradients that loss weights and
  // signs act on. Throws Error where the configured diag(F) is of something else.
  static Tensor trace_of_samples(const NoiseStep& step, double factor, bool centered = false);
  // [1] f64: a trace that the host knows.
  static Tensor constant_trace(const NoiseStep& step, double value) {
    Tensor trace(step.context, {1}, DType::f64);
    kernels::weighted_total(step.context.queue, 1, value, std::span<const kernels::ScalarTerm>(), trace.data<double>());
    return trace;
  }
  // The explicit vectors that backward passes left in the noise sums.
  static void use_noise_sums(const NoiseStep& step, std::span<kernels::SgdSegment> segments) {
    for (size_t i = 0; i < segments.size(); ++i) segments[i].explicit_noise = step.parameters[i]->noise_sum.f32();
  }
};

// Options every structure shares.
struct NoiseOptions {
  std::string type = "none";
  double stop_fraction = 0.25;               // of the epochs; later steps have no noise (Section 5.1)
  bool after_momentum = false;               // "position"
  std::vector<std::string> parameters{"*"};  // globs of parameter names that receive noise
  double scale = 1.0;                        // multiplies eps (lambda of Appendix B)
  // M_S: rescales the covariance to the trace kappa tr F that the noise of this small batch would have.
  std::optional<int64_t> match_trace;
};

// What a step's forward and backward passes do for its noise; made once for the whole batch.
struct NoisePasses {
  Statistics statistics;
  Tensor loss_weights;   // [M] 1 + u_n, or undefined
  Tensor noise_weights;  // [M] u_n / M, or undefined
  NoiseLabels noise_labels = NoiseLabels::fisher;
  StepNumber step = 0;

  bool in_gradient() const { return loss_weights.defined(); }
  // For the micro-batch of samples [begin, begin + batch.size()): sets its sample weights and the options' part.
  void apply(int64_t begin, Batch& batch, AccumulateOptions& options) const;
};

// kappa = (M_L - M_S)/(M_L M_S): the covariance of a mean over M_S samples drawn without replacement from M_L is kappa
// S^2. No noise is missing (0) from a batch that is not larger than M_S.
double noise_kappa(int64_t large_batch, int64_t small_batch);

// Trainable scalars of these parameters.
int64_t count_elements(const std::vector<Parameter*>& parameters);

// A number that noise is multiplied by, at least 0, whose square is a variance in single precision too.
double read_amplitude(const ConfigReader& json, std::string_view key, std::optional<double> default_value = {});

// The keys small_batch and large_batch of the structures that stand in for the noise of a small batch.
struct NoiseBatchSizes {
  int64_t small_batch = 128;
  // None: the size of each batch, so that a shorter last one gets what it lacks.
  std::optional<int64_t> large_batch = {};

  static NoiseBatchSizes read(const ConfigReader& json);
  double kappa(int64_t batch) const { return noise_kappa(large_batch.value_or(batch), small_batch); }
  bool act_on(int64_t batch) const { return kappa(batch) > 0; }
  // s with covariance of (s/M) sum_n sigma_n g_n = kappa F
  double sign_scale(int64_t batch) const { return std::sqrt(kappa(batch) * static_cast<double>(batch)); }
};

using NoiseBuilder = std::function<std::unique_ptr<NoiseStructure>(const ConfigReader& json)>;

class NoiseRegistry {
 public:
  static NoiseRegistry builtin();
  void add(std::string type, NoiseBuilder builder);
  std::vector<std::string> types() const;
  std::unique_ptr<NoiseStructure> build(const std::string& type, const ConfigReader& json) const;

 private:
  std::map<std::string, NoiseBuilder> builders_;
};

// A configured noise: the structure with the options around it.
class Noise {
 public:
  // Reads {"type": …, shared options, the structure's own}.
  static Noise read(const ConfigReader& json, const NoiseRegistry& registry);

  static Noise none();

  const NoiseOptions& options() const { return options_; }
  bool active() const { return options_.type != "none"; }
  // Nor is there any to add where match_trace's kappa is 0.
  bool acts_on(int64_t batch) const {
    return structure_->acts_on(batch) && (!options_.match_trace || noise_kappa(batch, *options_.match_trace) > 0);
  }
  // True if a step with such a batch has anything to do for the noise.
  bool takes_part(int64_t batch, const FisherOptions& fisher) const {
    return acts_on(batch) || averages(fisher) || structure_->remembers();
  }
  bool needs_second_moment() const { return structure_->needs_second_moment() || options_.match_trace; }
  // True if it draws on an average of diag(F) over steps.
  bool averages(const FisherOptions& fisher) const { return fisher.averaged() && needs_second_moment(); }
  // True if backward passes form the noise, so that each draw takes its own.
  bool forms_in_backward() const;
  // Allocates the sums that it needs. Throws Error for a parameter whose layer cannot give them.
  void require_sums(ParameterArena& arena) const;
  // keep_gradient: the gradient sums must stay those of unweighted samples.
  NoisePasses passes(Context& context, const FisherOptions& fisher, const NoiseBatch& batch, bool keep_gradient) const;
  // What the backward passes of a step collect.
  Statistics statistics(const FisherOptions& fisher, const NoiseBatch& batch, bool keep_gradient) const;
  // True if a step makes the host wait for the device.
  bool waits(const NoiseBatch& batch) const { return structure_->needs(batch).waits; }
  // True if the passes of this batch weigh the losses, so that the gradient sums hold the noise as well.
  bool weighs_losses(const FisherOptions& fisher, const NoiseBatch& batch, bool keep_gradient) const;
  bool applies_to(std::string_view parameter) const;
  // Throws Error for a glob that matches no parameter.
  void check_globs(const std::vector<Parameter*>& parameters) const;
  // Throws Error for what would stop a step with noise of this batch: signs of ghost batches that the network does not
  // have, or a trace for match_trace that is not known. The sums must be there.
  void check(Context& context, const FisherOptions& fisher, const NoiseBatch& batch,
             const std::vector<Parameter*>& parameters) const;
  // The first so many epochs of a run draw noise.
  double epochs_with_noise(int64_t epochs) const;
  // Fills the noise of every segment that the globs match, scaled.
  void prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) const;

 private:
  Tensor known_trace(const NoiseStep& step) const;

  NoiseOptions options_;
  std::shared_ptr<NoiseStructure> structure_;
};

}  // namespace noisysgd
