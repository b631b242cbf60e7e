#include <noisysgd/data/normalize.h>

#include <omp.h>

#include <cmath>
#include <cstdlib>

#include <noisysgd/data/registry.h>
#include <noisysgd/core/json.h>
#include "tests/catch.h"
#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;

namespace {

Dataset made_up(int64_t count, int64_t height, int64_t width, int64_t channels) {
  Dataset dataset;
  dataset.name = "made up";
  dataset.count = count, dataset.height = height, dataset.width = width, dataset.channels = channels;
  dataset.classes = 2;
  dataset.images = noise_bytes(static_cast<size_t>(count * dataset.image_size()));
  for (size_t i = 0; i < dataset.images.size(); ++i)  // channels that differ
    dataset.images[i] = static_cast<uint8_t>(dataset.images[i] / (1 + i % static_cast<size_t>(channels)));
  dataset.labels.assign(static_cast<size_t>(count), 0);
  return dataset;
}

}  // namespace

TEST_CASE("means and deviations agree with the two-pass formula") {
  for (const int64_t channels : {1, 2, 3}) {
    const Dataset dataset = made_up(17, 9, 7, channels);
    const auto statistics = channel_statistics(dataset);
    REQUIRE(static_cast<int64_t>(statistics.mean.size()) == channels);
    REQUIRE(static_cast<int64_t>(statistics.standard_deviation.size()) == channels);
    for (int64_t c = 0; c < channels; ++c) {
      const double n = 17 * 9 * 7;
      double mean = 0, variance = 0;
      for (size_t i = static_cast<size_t>(c); i < dataset.images.size(); i += static_cast<size_t>(channels))
        mean += dataset.images[i] / 255.0 / n;
      for (size_t i = static_cast<size_t>(c); i < dataset.images.size(); i += static_cast<size_t>(channels))
        variance += (dataset.images[i] / 255.0 - mean) * (dataset.images[i] / 255.0 - mean) / n;
      CHECK(statistics.mean[static_cast<size_t>(c)] == Approx(mean).epsilon(1e-12));
      CHECK(statistics.standard_deviation[static_cast<size_t>(c)] == Approx(std::sqrt(variance)).epsilon(1e-12));
      CHECK(statistics.inverse_standard_deviation()[static_cast<size_t>(c)] ==
            Approx(1 / std::sqrt(variance)).epsilon(1e-6));
    }
  }
}

TEST_CASE("statistics are the same bits with any number of threads") {
  const Dataset dataset = made_up(101, 8, 8, 3);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = channel_statistics(dataset);
  omp_set_num_threads(7);
  const auto seven = channel_statistics(dataset);
  omp_set_num_threads(threads);
  CHECK(one.mean == seven.mean);
  CHECK(one.standard_deviation == seven.standard_deviation);
}

TEST_CASE("a constant channel has deviation zero and no inverse; an empty set has no statistics") {
  Dataset dataset = made_up(3, 4, 4, 1);
  dataset.images.assign(dataset.images.size(), 77);
  const auto statistics = channel_statistics(dataset);
  CHECK(statistics.standard_deviation[0] == 0);
  check_mentions(error_of([&] { statistics.inverse_standard_deviation(); }), {"channel 0", "constant", "0.3020"});
  dataset.images.clear();
  check_mentions(error_of([&] { channel_statistics(dataset); }), {"made up", "no pixels"});
}

// With NSGD_DATA_ROOT naming a folder of published data sets, their known statistics; the folder must hold all three.
TEST_CASE("statistics of the published data sets") {
  const char* root = std::getenv("NSGD_DATA_ROOT");
  if (root == nullptr) {
    SUCCEED("NSGD_DATA_ROOT is not set");
    return;
  }
  const auto statistics_of = [&](const char* type) {
    const Config config(Json{{"type", type}, {"root", root}});
    return channel_statistics(ConfiguredDataset::read(config.root(), DatasetRegistry::builtin()).load().train);
  };
  const auto mnist = statistics_of("mnist");
  CHECK(mnist.mean[0] == Approx(0.1307).margin(5e-5));
  CHECK(mnist.standard_deviation[0] == Approx(0.3081).margin(5e-5));
  const auto fashion = statistics_of("fashion_mnist");
  CHECK(fashion.mean[0] == Approx(0.2860).margin(5e-5));
  CHECK(fashion.standard_deviation[0] == Approx(0.3530).margin(5e-5));
  const auto cifar = statistics_of("cifar10");
  const double means[]{0.49140, 0.48216, 0.44653}, deviations[]{0.24703, 0.24349, 0.26159};
  for (size_t c = 0; c < 3; ++c) {
    CHECK(cifar.mean[c] == Approx(means[c]).margin(5e-6));
    CHECK(cifar.standard_deviation[c] == Approx(deviations[c]).margin(5e-6));
  }
}
