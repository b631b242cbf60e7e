#include <noisysgd/data/resize.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;

namespace {

// The mean of image [H,W,1] over [top, bottom) × [left, right), in pixels.
double mean_over(const Bytes& image, int64_t H, int64_t W, double top, double bottom, double left, double right) {
  double sum = 0;
  for (int64_t y = 0; y < H; ++y)
    for (int64_t x = 0; x < W; ++x) {
      const auto fy = static_cast<double>(y), fx = static_cast<double>(x);
      const double height = std::max(0.0, std::min(bottom, fy + 1) - std::max(top, fy));
      const double width = std::max(0.0, std::min(right, fx + 1) - std::max(left, fx));
      sum += height * width * image[static_cast<size_t>(y * W + x)];
    }
  return sum / ((bottom - top) * (right - left));
}

}  // namespace

TEST_CASE("resizing to the same size changes nothing, and a constant stays one") {
  const Bytes image = noise_bytes(6 * 8 * 3, 1);
  CHECK(resize_image(image.data(), 6, 8, 3, 6, 8) == image);
  CHECK(resize_image(Bytes(12, 77).data(), 3, 4, 1, 7, 5) == Bytes(35, 77));
  CHECK(resize_image(Bytes(12, 77).data(), 3, 4, 1, 2, 9) == Bytes(18, 77));
}

TEST_CASE("along an axis that shrinks every pixel is the mean of its area") {
  const auto [height, width] = GENERATE(std::pair{4, 5}, std::pair{1, 1}, std::pair{7, 3}, std::pair{13, 10});
  const Bytes image = noise_bytes(13 * 11, 2);
  const Bytes small = resize_image(image.data(), 13, 11, 1, height, width);
  REQUIRE(small.size() == static_cast<size_t>(height * width));
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double expected = mean_over(image, 13, 11, y * 13.0 / height, (y + 1) * 13.0 / height, x * 11.0 / width,
                                        (x + 1) * 11.0 / width);
      CHECK(std::abs(small[static_cast<size_t>(y * width + x)] - expected) <= 0.5 + 1e-9);
    }
}

TEST_CASE("one white column in eight becomes grey everywhere") {
  Bytes stripes(256 * 256);
  for (size_t i = 3; i < stripes.size(); i += 8) stripes[i] = 255;
  CHECK(resize_image(stripes.data(), 256, 256, 1, 32, 32) == Bytes(32 * 32, 32));  // 255 / 8 = 31.9
}

TEST_CASE("along an axis that grows pixels are interpolated between their centres") {
  const Bytes ramp{0, 90, 180};
  CHECK(resize_image(ramp.data(), 1, 3, 1, 1, 6) == Bytes{0, 23, 68, 113, 158, 180});
  CHECK(resize_image(ramp.data(), 3, 1, 1, 6, 1) == Bytes{0, 23, 68, 113, 158, 180});
}
