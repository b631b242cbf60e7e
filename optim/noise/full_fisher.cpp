#include "optim/noise/full_fisher.h"

#include <algorithm>
#include <numeric>

#include "kernels/philox.h"
#include "optim/noise/sample_draws.h"

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
    json.error("large_batch", "does not go with \"signs\": \"subset\": the subset is taken from each batch");
  if (signs == FisherSigns::subset && centered)
    json.error("centered", "does not go with \"signs\": \"subset\": its weights have mean 0 already");
  return std::make_unique<FullFisherNoise>(sizes, signs, centered);
}

std::vector<float> FullFisherNoise::sample_weights(const NoiseBatch& batch) const {
  if (signs_ == FisherSigns::subset) return subset_weights(batch);
  const auto s = static_cast<float>(sizes_.sign_scale(batch.samples));
  int64_t group = 1;
  if (signs_ == FisherSigns::ghost) {
    NSGD_CHECK(batch.ghost_size > 0, "noise.signs: \"ghost\" needs ghost batch normalisation in the network");
    group = std::min(batch.ghost_size, batch.samples);
  }
  const int64_t groups = (batch.samples + group - 1) / group;
  const RandomStream stream = sample_stream(batch);
  std::vector<float> sigma(static_cast<size_t>(groups));
  for (size_t b = 0; b < sigma.size(); ++b)
    sigma[b] = signs_ == FisherSigns::gaussian ? sample_normal(stream, b) : sample_sign(stream, b);
  if (centered_) {
    NSGD_CHECK(groups > 1, "noise.centered: a single sign has no deviation from its mean");
    const auto count = static_cast<double>(groups);
    const double mean = std::accumulate(sigma.begin(), sigma.end(), 0.0) / count;
    for (float& value : sigma) value = static_cast<float>((value - mean) * std::sqrt(count / (count - 1)));
  }
  std::vector<float> weights(static_cast<size_t>(batch.samples));
  for (size_t n = 0; n < weights.size(); ++n) weights[n] = s * sigma[n / static_cast<size_t>(group)];
  return weights;
}

std::vector<float> FullFisherNoise::subset_weights(const NoiseBatch& batch) const {
  const auto large = static_cast<size_t>(batch.samples);
  const size_t small = std::min(large, static_cast<size_t>(sizes_.small_batch));
  // The samples with the smallest random words; equal words go by index.
  const RandomStream stream = sample_stream(batch);
  std::vector<std::pair<uint32_t, size_t>> keys(large);
  for (size_t n = 0; n < large; ++n) keys[n] = {random_word(stream, n), n};
  std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(small) - 1, keys.end());
  std::vector<float> weights(large, -1.0f);
  for (size_t i = 0; i < small; ++i)
    weights[keys[i].second] = static_cast<float>(static_cast<double>(large) / static_cast<double>(small) - 1);
  return weights;
}

std::optional<double> FullFisherNoise::trace(const NoiseStep& step) const {
  if (signs_ == FisherSigns::ghost) return {};
  return trace_of_samples(step, sizes_.kappa(step.batch), centered_ || signs_ == FisherSigns::subset);
}

}  // namespace noisysgd
