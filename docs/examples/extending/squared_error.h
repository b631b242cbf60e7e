// An example loss: l = |z - t e_label|^2 / 2, the squared distance of the scores z from t times the unit vector of the
// label (Hui and Belkin 2021).
#pragma once

#include <memory>
#include <span>

#include <noisysgd/layers/loss.h>

class SquaredError : public noisysgd::SampleLoss {
 public:
  explicit SquaredError(double target) : target_(target) {}

  static std::unique_ptr<Loss> read(const noisysgd::ConfigReader& json) {
    return std::make_unique<SquaredError>(json.number("target", {.default_value = 1, .above = 0}));
  }

  void describe(noisysgd::Graph& graph, const std::string& scores) const override {
    graph.add({"loss", "squared_error", {scores}, noisysgd::Shape{}, {{"target", target_}}});
  }

 private:
  double sample_loss(std::span<const float> z, int32_t label, noisysgd::Targets,
                     std::span<float> gradient) const override {
    double loss = 0;
    for (size_t k = 0; k < z.size(); ++k) {
      const double difference = z[k] - (static_cast<int32_t>(k) == label ? target_ : 0);
      loss += difference * difference / 2;
      if (!gradient.empty()) gradient[k] = static_cast<float>(difference);
    }
    return loss;
  }

  double target_;
};
