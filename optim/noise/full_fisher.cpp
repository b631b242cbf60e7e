#include <noisysgd/optim/noise/full_fisher.h>

#include <algorithm>

namespace noisysgd {

std::unique_ptr<NoiseStructure> FullFisherNoise::read(const ConfigReader& json) {
  const auto signs = json.choice<FisherSigns>("signs",
                                              {{"rademacher", FisherSigns::rademacher},
                                               {"gaussian", FisherSigns::gaussian},
                                               {"subset", FisherSigns::subset},
                                               {"ghost", FisherSigns::ghost}},
                                              FisherSigns::rademacher);
  const bool centered = json.boolean("centered", false);
  const NoiseBatchSizes sizes = NoiseBatchSizes::read(json);
  if (signs == FisherSigns::subset && sizes.large_batch)
    json.error("large_batch", "cannot be used with \"signs\": \"subset\": the subset is drawn from each batch");
  if (signs == FisherSigns::subset && centered)
    json.error("centered", "cannot be used with \"signs\": \"subset\": its weights already have mean 0");
  return std::make_unique<FullFisherNoise>(sizes, signs, centered);
}

std::optional<kernels::SampleWeights> FullFisherNoise::sample_weights(const NoiseBatch& batch) const {
  kernels::SampleWeights weights{.draw = kernels::SampleDraw::sign,
                                 .scale = static_cast<float>(sizes_.sign_scale(batch.samples)),
                                 .centered = centered_};
  if (signs_ == FisherSigns::gaussian) weights.draw = kernels::SampleDraw::normal;
  if (signs_ == FisherSigns::subset) return {{.draw = kernels::SampleDraw::subset, .chosen = sizes_.small_batch}};
  if (signs_ == FisherSigns::ghost) {
    NSGD_CHECK(batch.ghost_size > 0, "noise.signs: \"ghost\" needs ghost batch normalisation in the network");
    weights.group = std::min(batch.ghost_size, batch.samples);
  }
  return weights;
}

Tensor FullFisherNoise::trace(const NoiseStep& step) const {
  if (signs_ == FisherSigns::ghost) return {};
  return trace_of_samples(step, sizes_.kappa(step.batch), centered_ || signs_ == FisherSigns::subset);
}

}  // namespace noisysgd
