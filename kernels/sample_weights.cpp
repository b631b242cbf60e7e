#include <noisysgd/kernels/sample_weights.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include <noisysgd/kernels/check.h>

namespace noisysgd::kernels {

int64_t count_groups(const SampleWeights& options, int64_t samples) {
  NSGD_CHECK(options.group > 0, "sample_weights: groups of {} samples, expected at least 1", options.group);
  NSGD_CHECK(options.draw != SampleDraw::subset || options.chosen > 0,
             "sample_weights: a subset of {} samples, expected at least 1", options.chosen);
  const int64_t groups = (samples + options.group - 1) / options.group;
  NSGD_CHECK(!options.centered || groups != 1, "sample_weights: a single sign has no deviation from its mean");
  return groups;
}

namespace cpu {

namespace {

float draw(const SampleWeights& options, const RandomStream& stream, uint64_t group) {
  if (options.draw == SampleDraw::constant) return 1.0f;
  if (options.draw == SampleDraw::sign) return random_word(stream, group) & 1u ? -1.0f : 1.0f;
  const double u = (random_word(stream, 2 * group) + 0.5) * 0x1p-32;
  const double angle = 2 * std::numbers::pi * (random_word(stream, 2 * group + 1) * 0x1p-32);
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(angle));
}

std::vector<float> draw_groups(const SampleWeights& options, const RandomStream& stream, int64_t groups) {
  std::vector<float> sigma(static_cast<size_t>(groups));
  for (size_t b = 0; b < sigma.size(); ++b) sigma[b] = draw(options, stream, b);
  if (!options.centered) return sigma;
  const auto count = static_cast<double>(groups);
  const double mean = std::accumulate(sigma.begin(), sigma.end(), 0.0) / count;
  for (float& value : sigma) value = static_cast<float>((value - mean) * std::sqrt(count / (count - 1)));
  return sigma;
}

std::vector<float> draw_subset(const SampleWeights& options, const RandomStream& stream, int64_t samples) {
  const auto large = static_cast<size_t>(samples), small = std::min(large, static_cast<size_t>(options.chosen));
  // The samples with the smallest random words; equal words are ordered by index.
  std::vector<std::pair<uint32_t, size_t>> keys(large);
  for (size_t n = 0; n < large; ++n) keys[n] = {random_word(stream, n), n};
  std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(small) - 1, keys.end());
  std::vector<float> u(large, -1.0f);
  for (size_t i = 0; i < small; ++i)
    u[keys[i].second] = static_cast<float>(static_cast<double>(large) / static_cast<double>(small) - 1);
  return u;
}

}  // namespace

void sample_weights(Queue&, const SampleWeights& options, const RandomStream& stream, int64_t samples, float shift,
                    float factor, float* weights) {
  const int64_t groups = count_groups(options, samples);
  if (samples == 0) return;
  const bool subset = options.draw == SampleDraw::subset;
  const std::vector<float> drawn =
      subset ? draw_subset(options, stream, samples) : draw_groups(options, stream, groups);
  for (int64_t n = 0; n < samples; ++n) {
    const float u =
        subset ? drawn[static_cast<size_t>(n)] : options.scale * drawn[static_cast<size_t>(n / options.group)];
    weights[n] = shift + factor * u;
  }
}

}  // namespace cpu

}  // namespace noisysgd::kernels
