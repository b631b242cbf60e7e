// A configured noise: a structure (optim/noise/structure.h), the options that all structures share, and the state of
// one run. Each run needs its own Noise.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <noisysgd/core/registry.h>
#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

// Options of all structures.
struct NoiseOptions {
  std::string type = "none";
  double stop_fraction = 0.25;               // of the epochs; later steps have no noise (Section 5.1)
  bool after_momentum = false;               // "position"
  std::vector<std::string> parameters{"*"};  // globs of parameter names that receive noise, unless frozen
  double scale = 1.0;                        // multiplies eps (lambda of Appendix B)
  // M_S: rescales the covariance to the trace kappa tr F, which the noise of batches of this size has.
  std::optional<int64_t> match_trace = {};
};

// What one step does for the noise, decided before it is issued. Equal plans issue the same ops.
struct NoisePlan {
  auto operator<=>(const NoisePlan&) const = default;

  bool active = false;         // the step draws noise or collects for it
  Statistics statistics = {};  // collected by the passes at the Fisher labels
  NoiseCollects collects = {};
  bool updates_average = false, first_average = false;  // the average of diag(F); its first update
  std::optional<kernels::SampleWeights> weights = {};   // of the samples
  bool weighs_losses = false;      // as loss weights in the one backward pass: the gradient sums then contain the noise
  Labels labels = Labels::data;    // of the separate weighted pass otherwise
  bool needs_host = false;         // true: the step cannot be recorded as a graph
};

using NoiseBuilder = std::function<std::unique_ptr<NoiseStructure>(const ConfigReader& json)>;

class NoiseRegistry : public Registry<NoiseBuilder> {
 public:
  NoiseRegistry() : Registry("a noise structure") {}
  static NoiseRegistry builtin();
  std::unique_ptr<NoiseStructure> build(const std::string& type, const ConfigReader& json) const {
    return at(type)(json);
  }
};

class Noise {
 public:
  // Reads {"type": …, shared options, the structure's own options}.
  static Noise read(const ConfigReader& json, const NoiseRegistry& registry);

  // From a structure that was built in C++; options.type is its name in messages, and not "none".
  Noise(NoiseOptions options, std::unique_ptr<NoiseStructure> structure)
      : options_(std::move(options)), structure_(std::move(structure)) {}
  static Noise none();

  const NoiseOptions& options() const { return options_; }
  bool active() const { return options_.type != "none"; }
  NoiseCapabilities capabilities() const { return structure_->capabilities(); }
  // False if a batch of this size gets no noise: from the structure, or because kappa of match_trace is 0.
  bool acts_on(int64_t samples) const {
    return structure_->acts_on(samples) && (!options_.match_trace || noise_kappa(samples, *options_.match_trace) > 0);
  }
  // True if a step with a batch of this size draws noise or collects for it.
  bool takes_part(int64_t samples, const FisherOptions& fisher) const {
    return acts_on(samples) || averages(fisher) || capabilities().remembers;
  }
  bool needs_second_moment() const { return capabilities().second_moment || options_.match_trace; }
  // True if the noise uses an average of diag(F) over steps.
  bool averages(const FisherOptions& fisher) const { return fisher.kept() && needs_second_moment(); }
  // True if backward passes compute the noise: every draw then needs passes of its own.
  bool forms_in_backward() const {
    return capabilities().sample_weights || capabilities().signs != kernels::SignGrain::none;
  }
  bool applies_to(std::string_view parameter) const;
  // Throws Error for a glob that matches no parameter, and if all that match are frozen.
  void check_globs(const std::vector<Parameter*>& parameters) const;
  // The number of epochs with noise, from the start of a run of `epochs` epochs.
  double epochs_with_noise(int64_t epochs) const;

  // The plan of a step with noise. keep_gradient: the gradient sums must stay those of unweighted samples. Throws Error
  // for a batch that the structure does not support.
  NoisePlan plan(const FisherOptions& fisher, const NoiseBatch& batch, int64_t step, bool keep_gradient) const;

  // Begins the run of this Noise, once: allocates its state. The parameters must outlive it. Throws Error for a
  // parameter if its layer cannot collect the statistics that the noise needs.
  void begin(Context& context, const ParameterSet& parameters, const FisherOptions& fisher);
  // Allocates the blocks of `sums` that steps with noise collect.
  void require_sums(Context& context, const ParameterSet& parameters, Sums& sums) const;
  // To be called after `begin`. Throws Error if match_trace is set and the trace is not known before the draw.
  void check_trace(Context& context, const FisherOptions& fisher, const NoiseBatch& batch, const Sums& sums) const;
  // Names: "fisher." + parameter name, and those of the structure.
  void visit_state(StateVisitor& visitor) const;

  // The sample weights [M] of a batch: 1 + scale u_n as loss weights, or u_n / M for a separate pass; undefined: none.
  // The random stream is that of (seed, step).
  Tensor sample_weights(Context& context, const NoisePlan& plan, int64_t samples, uint64_t seed, StepNumber step) const;
  // The noise of every parameter, from the sums of a step. `kept` owns the tensors to which its pointers refer.
  std::vector<kernels::NoiseField> prepare(Context& context, const NoisePlan& plan, const FisherOptions& fisher,
                                           const Sums& sums, int64_t samples, uint64_t seed, StepNumber step,
                                           std::vector<Tensor>& kept);

 private:
  Noise() = default;
  Tensor known_trace(const NoiseStep& step) const;
  std::vector<Parameter*> noisy_parameters() const;

  NoiseOptions options_;
  std::shared_ptr<NoiseStructure> structure_;
  const ParameterSet* parameters_ = nullptr;
  Block fisher_average_;
};

}  // namespace noisysgd
