// The interface of a noise structure: what a step adds to the mean gradient, eps ~ (0, covariance). One file per
// structure in this folder. A structure either gives coefficients of a coordinate-wise Gaussian variance c0 + cQ Q + cS
// S^2 (drawn inside the fused step, kernels/sgd_step.h) or an explicit vector per parameter.
#pragma once

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
#include "kernels/sgd_step.h"
#include "optim/fisher.h"

namespace noisysgd {

// What a structure sees when a step is due: sums over `batch` samples are in the parameters.
struct NoiseStep {
  Context& context;
  const std::vector<Parameter*>& parameters;
  const FisherOptions& fisher;
  int64_t batch = 0;
  uint64_t seed = 0;
  uint32_t step = 0;
};

class NoiseStructure {
 public:
  virtual ~NoiseStructure() = default;
  // True if the structure needs sum_n g_n^2, collected in backward by the configured Fisher estimator.
  virtual bool needs_second_moment() const { return false; }
  // Sets `noise` or `explicit_noise` of segments[i], which belongs to parameters[i]; both are empty on entry.
  virtual void prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) = 0;
};

// Options every structure shares.
struct NoiseOptions {
  std::string type = "none";
  double stop_fraction = 0.25;               // of the epochs; later steps have no noise (Section 5.1)
  bool after_momentum = false;               // "position"
  std::vector<std::string> parameters{"*"};  // globs of parameter names that receive noise
  double scale = 1.0;                        // multiplies eps (lambda of Appendix B)
};

// kappa = (M_L - M_S)/(M_L M_S): the covariance of a mean over M_S samples drawn without replacement from M_L is kappa
// S^2. No noise is missing (0) from a batch that is not larger than M_S.
double noise_kappa(int64_t large_batch, int64_t small_batch);

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
  bool needs_second_moment() const { return structure_->needs_second_moment(); }
  bool applies_to(std::string_view parameter) const;
  // Throws Error for a glob that matches no parameter.
  void check_globs(const std::vector<Parameter*>& parameters) const;
  // Number of steps of a run that draw noise.
  int64_t steps_with_noise(int64_t total_steps) const;
  // Fills the noise of every segment, scaled, and clears it where the globs do not match.
  void prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) const;

 private:
  NoiseOptions options_;
  std::shared_ptr<NoiseStructure> structure_;
};

}  // namespace noisysgd
