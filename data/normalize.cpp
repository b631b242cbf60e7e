#include <noisysgd/data/normalize.h>

#include <fmt/format.h>

#include <cmath>
#include <cstdint>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

ChannelStatistics channel_statistics(const Dataset& dataset) {
  NSGD_CHECK(!dataset.images.empty(), "{}: no pixels to take the mean and standard deviation of", dataset.name);
  const int64_t C = dataset.channels;
  const auto pixels = static_cast<int64_t>(dataset.images.size()) / C;
  ChannelStatistics statistics;
  for (int64_t c = 0; c < C; ++c) {
    const uint8_t* channel = dataset.images.data() + c;
    uint64_t sum = 0, sum_of_squares = 0;
#pragma omp parallel for reduction(+ : sum, sum_of_squares) schedule(static)
    for (int64_t i = 0; i < pixels; ++i) {
      const uint64_t value = channel[i * C];
      sum += value;
      sum_of_squares += value * value;
    }
    const double mean = static_cast<double>(sum) / static_cast<double>(pixels);
    // n·Σx² - (Σx)² is exact in 128 bits, so a constant channel gives exactly zero.
    const auto scaled =
        static_cast<unsigned __int128>(pixels) * sum_of_squares - static_cast<unsigned __int128>(sum) * sum;
    const double deviation = std::sqrt(static_cast<double>(scaled)) / static_cast<double>(pixels);
    statistics.mean.push_back(mean / 255.0);
    statistics.standard_deviation.push_back(deviation / 255.0);
  }
  return statistics;
}

std::vector<float> ChannelStatistics::inverse_standard_deviation() const {
  std::vector<float> inverse;
  for (size_t c = 0; c < standard_deviation.size(); ++c) {
    NSGD_CHECK(standard_deviation[c] > 0, "channel {} is constant ({}) in all images and cannot be normalised", c,
               fmt::format("{:.4f}", mean[c]));
    inverse.push_back(static_cast<float>(1.0 / standard_deviation[c]));
  }
  return inverse;
}

}  // namespace noisysgd
