// A configured noise: a structure (optim/noise/structure.h) with the options that all of them share, and for a run its
// state. A run has a Noise of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <noisysgd/core/registry.h>
#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

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

// What one step does for the noise, decided before it is issued: steps of equal plans are alike.
struct NoisePlan {
  auto operator<=>(const NoisePlan&) const = default;

  bool draws = false;      // the step takes part in the noise
  Statistics statistics = {};  // that passes at the Fisher labels collect
  NoiseCollects collects = {};
  bool updates_average = false, first_average = false;  // of diag(F)
  std::optional<kernels::SampleWeights> weights = {};   // of the samples
  bool weighs_losses = false;      // in the one backward pass, so that the gradient sums hold the noise as well
  Labels labels = Labels::data;    // of the pass that the weights are for otherwise
  bool needs_host = false;         // such a step cannot be recorded
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
  // Reads {"type": …, shared options, the structure's own}.
  static Noise read(const ConfigReader& json, const NoiseRegistry& registry);

  static Noise none();

  const NoiseOptions& options() const { return options_; }
  bool active() const { return options_.type != "none"; }
  NoiseCapabilities capabilities() const { return structure_->capabilities(); }
  // Nor does a batch get noise where match_trace's kappa is 0.
  bool acts_on(int64_t samples) const {
    return structure_->acts_on(samples) && (!options_.match_trace || noise_kappa(samples, *options_.match_trace) > 0);
  }
  // True if a step with such a batch has anything to do for the noise.
  bool takes_part(int64_t samples, const FisherOptions& fisher) const {
    return acts_on(samples) || averages(fisher) || capabilities().remembers;
  }
  bool needs_second_moment() const { return capabilities().second_moment || options_.match_trace; }
  // True if it draws on an average of diag(F) over steps.
  bool averages(const FisherOptions& fisher) const { return fisher.averaged() && needs_second_moment(); }
  // True if backward passes form the noise, so that each draw takes its own.
  bool forms_in_backward() const {
    return capabilities().sample_weights || capabilities().signs != kernels::SignGrain::none;
  }
  bool applies_to(std::string_view parameter) const;
  // Throws Error for a glob that matches no parameter.
  void check_globs(const std::vector<Parameter*>& parameters) const;
  // The first so many epochs of a run draw noise.
  double epochs_with_noise(int64_t epochs) const;

  // What a step does whose noise is due. keep_gradient: the gradient sums must stay those of unweighted samples.
  // Throws Error for a batch that the structure cannot take.
  NoisePlan plan(const FisherOptions& fisher, const NoiseBatch& batch, int64_t step, bool keep_gradient) const;

  // Of a run: allocates the state, once. The parameters must outlive it. Throws Error for a parameter whose layer cannot
  // give what the noise needs.
  void begin(Context& context, const ParameterSet& parameters, const FisherOptions& fisher);
  // Allocates in `sums` what steps with noise collect.
  void require_sums(Context& context, const ParameterSet& parameters, Sums& sums) const;
  // Throws Error where match_trace is set and the trace is not known. After `begin`.
  void check_trace(Context& context, const FisherOptions& fisher, const NoiseBatch& batch, const Sums& sums) const;
  // "fisher." and the parameters' names, and what the structure names.
  void visit_state(StateVisitor& visitor) const;

  // [M]: the weights of a batch, 1 + u_n for losses and u_n / M for a pass of their own; undefined: none. The stream is
  // of (seed, step).
  Tensor sample_weights(Context& context, const NoisePlan& plan, int64_t samples, uint64_t seed, StepNumber step) const;
  // The noise of every parameter, from the sums of a step; `kept` keeps what it points at.
  std::vector<kernels::NoiseField> prepare(Context& context, const NoisePlan& plan, const FisherOptions& fisher,
                                           const Sums& sums, int64_t samples, uint64_t seed, StepNumber step,
                                           std::vector<Tensor>& kept);

 private:
  Tensor known_trace(const NoiseStep& step) const;
  std::vector<Parameter*> noisy_parameters() const;

  NoiseOptions options_;
  std::shared_ptr<NoiseStructure> structure_;
  const ParameterSet* parameters_ = nullptr;
  Block fisher_average_;
};

}  // namespace noisysgd
