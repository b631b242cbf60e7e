// Isotropic noise with the trace of the Fisher matrix, by `level`:
//   global     eps = sqrt(kappa tr F / d) xi over all d noisy parameters: trace of the covariance kappa tr F
//   per_layer  the same with tr F_l and d_l of each layer (weight and bias together)
//   literal    eps = sqrt(kappa tr F) xi, as written in Appendix E.2: trace kappa d tr F
// Cost: the second moment, whose sum is M tr F.
#pragma once

#include <map>

#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

enum class TraceLevel { global, per_layer, literal };

class FisherTraceNoise : public NoiseStructure {
 public:
  FisherTraceNoise(const NoiseBatchSizes& sizes, TraceLevel level) : sizes_(sizes), level_(level) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    const auto level = json.choice<TraceLevel>(
        "level",
        {{"global", TraceLevel::global}, {"per_layer", TraceLevel::per_layer}, {"literal", TraceLevel::literal}},
        TraceLevel::global);
    return std::make_unique<FisherTraceNoise>(NoiseBatchSizes::read(json), level);
  }

  bool acts_on(int64_t batch) const override { return sizes_.act_on(batch); }
  NoiseCapabilities capabilities() const override { return {.second_moment = true}; }

  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    std::map<std::string, std::vector<Parameter*>> layers;
    for (Parameter* parameter : step.parameters) layers[layer_of(*parameter)].push_back(parameter);
    const double kappa = sizes_.kappa(step.batch);
    std::map<std::string, const float*> variance;
    for (const auto& [layer, parameters] : layers) {
      const Tensor trace = fisher_trace(step.context, step.fisher, parameters);
      const double count = level_ == TraceLevel::literal ? 1 : static_cast<double>(count_elements(parameters));
      const Tensor& own = step.kept.emplace_back(step.context, Shape{1});
      kernels::mean_variance(step.context.queue, kappa, count, trace.data<double>(), own.f32());
      variance[layer] = own.f32();
    }
    for (size_t i = 0; i < fields.size(); ++i) {
      fields[i].variance.constant = 1;
      fields[i].variance_factor = variance[layer_of(*step.parameters[i])];
    }
  }

  Tensor trace(const NoiseStep& step) const override {
    const double count = level_ == TraceLevel::literal ? static_cast<double>(count_elements(step.parameters)) : 1;
    return fisher_trace(step.context, step.fisher, step.parameters, sizes_.kappa(step.batch) * count);
  }

 private:
  // The key of a parameter's trace: its layer for per_layer, otherwise the same for all parameters.
  std::string layer_of(const Parameter& parameter) const {
    return level_ == TraceLevel::per_layer ? layer_name(parameter) : std::string();
  }

  NoiseBatchSizes sizes_;
  TraceLevel level_;
};

}  // namespace noisysgd
