// An example data set: waves with noise on 16x16 pixels; the class is the direction of the wave.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <random>

#include <noisysgd/data/registry.h>

class Gratings : public noisysgd::DatasetLoader {
 public:
  Gratings(int64_t train_size, int64_t test_size, int64_t directions, double noise)
      : train_size_(train_size), test_size_(test_size), directions_(directions), noise_(noise) {}

  // Its own keys; every data set also has train_limit, test_limit, holdout, augment, normalize.
  static std::unique_ptr<DatasetLoader> read(const noisysgd::ConfigReader& json) {
    const auto size = [&](const char* key, int64_t by_default) {
      return json.integer(key, {.default_value = by_default, .at_least = 1, .at_most = 1'000'000});
    };
    const int64_t train_size = size("train_size", 512), test_size = size("test_size", 128);
    const int64_t directions = json.integer("directions", {.default_value = 4, .at_least = 2, .at_most = 100});
    const double noise = json.number("noise", {.default_value = 0.5, .at_least = 0, .at_most = 10});
    return std::make_unique<Gratings>(train_size, test_size, directions, noise);
  }

  noisysgd::DatasetPair load(const noisysgd::DatasetSelection&) const override {
    return {draw(1, train_size_), draw(2, test_size_)};
  }

 private:
  noisysgd::Dataset draw(uint32_t seed, int64_t count) const {
    constexpr int64_t side = 16;
    noisysgd::Dataset set{.count = count, .height = side, .width = side, .channels = 1, .classes = directions_};
    std::mt19937 random(seed);
    const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
    for (int64_t n = 0; n < count; ++n) {
      const int64_t label = n % directions_;
      const double angle = std::numbers::pi * static_cast<double>(label) / static_cast<double>(directions_);
      const double phase = 2 * std::numbers::pi * uniform();
      for (int64_t y = 0; y < side; ++y)
        for (int64_t x = 0; x < side; ++x) {
          const double along = static_cast<double>(x) * std::cos(angle) + static_cast<double>(y) * std::sin(angle);
          const double value = std::sin(along + phase) + noise_ * (2 * uniform() - 1);
          set.images.push_back(static_cast<uint8_t>(std::clamp(127.5 + 80 * value, 0.0, 255.0)));
        }
      set.labels.push_back(static_cast<int32_t>(label));
    }
    return set;
  }

  int64_t train_size_, test_size_, directions_;
  double noise_;
};
