// tr F_l and ||diag F_l|| of every layer, and from groups of the batch's samples variance ratio and effective rank
// (optim/group_statistics.h): `layers` of a log line. A measured step collects the second moment.
#pragma once

#include <optional>

#include <noisysgd/optim/group_statistics.h>
#include <noisysgd/optim/measurement.h>

namespace noisysgd {

class LayerMeasurement : public Measurement {
 public:
  explicit LayerMeasurement(std::optional<int64_t> groups = {}) : groups_(groups) {}
  static std::shared_ptr<Measurement> read(const ConfigReader& json);  // null: not wanted

  void begin(Context& context, Model& model, const FisherOptions& fisher, Sums& sums) override;
  void collect(const FisherOptions& fisher, Statistics& statistics) const override { fisher.collect(statistics); }
  std::unique_ptr<StepMeasurement> begin_step(const Sums& sums, int64_t samples) override;
  std::vector<Tensor> results() const override;
  void write(std::span<const void* const> copies, int64_t samples, Json& fields) const override;

  // What `write` says of the layers.
  std::vector<LayerFisher> layers(std::span<const void* const> copies, int64_t samples) const;

 private:
  class Step;

  std::optional<int64_t> groups_;
  Model* model_ = nullptr;
  FisherOptions fisher_;
  Tensor sums_;            // [layers,2] f64: see layer_fisher
  Tensor group_products_;  // [layers,2,R,R]: see GroupStatistics::multiply
};

}  // namespace noisysgd
