#include <noisysgd/optim/measurement.h>

#include <algorithm>
#include <array>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/reduce.h>
#include <noisysgd/optim/layer_measurement.h>

namespace noisysgd {

namespace {

// The spread of the samples' gradients about their mean g: tr S^2 = (sum_n ||g_n||^2 - M ||g||^2) / (M - 1), unbiased,
// the squared norm of the expected gradient, ||g||^2 - tr S^2 / M, unbiased, and the gradient noise scale
// tr S^2 / ||g||^2 (McCandlish et al. 2018), biased (docs/noise.md).
class NoiseScale : public Measurement {
 public:
  static std::shared_ptr<Measurement> read(const ConfigReader& json) {
    return json.boolean("noise_scale", false) ? std::make_shared<NoiseScale>() : nullptr;
  }

  void begin(Context& context, Model& model, const FisherOptions&, Sums&) override {
    for (const Parameter* parameter : model.parameter_set().trained())
      NSGD_CHECK(parameter->gives_sample_statistics,
                 "logging.noise_scale: the layer of parameter '{}' gives no norms of single samples", parameter->name);
    context_ = &context;
    sums_ = Tensor(context, {2, 2}, DType::f64);
  }
  std::unique_ptr<StepMeasurement> begin_step(const Sums& sums, int64_t samples) override {
    return std::make_unique<Step>(*this, sums, samples);
  }
  std::vector<Tensor> results() const override { return {sums_}; }
  void write(std::span<const void* const> copies, int64_t samples, Json& fields) const override {
    const auto* const sums = static_cast<const double*>(copies[0]);
    const auto m = static_cast<double>(samples);
    const double norms = sums[0], mean_squared = sums[3] / (m * m);
    const double variance = std::max((norms - m * mean_squared) / (m - 1), 0.0);  // below 0 by rounding alone
    fields["gradient_variance"] = samples > 1 ? Json(variance) : Json();
    fields["expected_gradient_squared"] = samples > 1 ? Json(mean_squared - variance / m) : Json();
    fields["gradient_noise_scale"] = samples > 1 && mean_squared > 0 ? Json(variance / mean_squared) : Json();
  }

 private:
  class Step : public StepMeasurement {
   public:
    Step(const NoiseScale& of, const Sums& sums, int64_t samples)
        : of_(of), sums_(sums), norms_(zeros(*of.context_, {samples})) {}
    void begin_pass(int64_t, BackwardJob& gradient, std::vector<BackwardJob>&) override {
      gradient.into.sample_norms = norms_;
    }
    void end() override {
      const Tensor& gradient = sums_.gradient.all();
      const std::array<kernels::SummedTensor, 2> summed{
          {{norms_.elements(), norms_.f32(), 0}, {gradient.elements(), gradient.f32(), 1}}};
      kernels::tensor_sums(of_.context_->queue, summed, 2, of_.sums_.data<double>());
    }

   private:
    const NoiseScale& of_;
    const Sums& sums_;
    Tensor norms_;
  };

  Context* context_ = nullptr;
  Tensor sums_;  // [2,2] f64: sums and sums of squares of the norms ||g_n||^2, and of the elements of sum_n g_n
};

}  // namespace

Measurements read_measurements(const ConfigReader& json) {
  Measurements measurements;
  for (const auto read : {LayerMeasurement::read, NoiseScale::read})
    if (auto measurement = read(json)) measurements.push_back(std::move(measurement));
  return measurements;
}

}  // namespace noisysgd
