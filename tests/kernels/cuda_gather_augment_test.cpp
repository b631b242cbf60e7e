// Augmented batches on the CUDA device against the same on the CPU.
#include <cmath>

#include <noisysgd/kernels/gather_augment.h>
#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

TEST_CASE("augmented batches agree to the bit on both devices") {
  BothQueues both;
  struct Shape {
    int64_t images, samples, height, width, channels;
    AugmentOptions options;
  };
  for (const Shape s : {Shape{1, 0, 2, 2, 1, {}},
                        {9, 33, 7, 5, 3, {2, true}},
                        {5, 31, 28, 28, 1, {}},
                        {3, 17, 9, 9, 4, {4, false}},
                        {4, 5, 3, 3, 2, {5, true}},
                        {3, 2100, 2, 2, 1, {1, true}}}) {
    CAPTURE(s.images, s.samples, s.height, s.width, s.channels, s.options.padding, s.options.flip);
    const int64_t size = s.height * s.width * s.channels;
    const std::vector<int32_t> pixels = random_integers(s.images * size, 1, 256);
    Mirrored<uint8_t> images(std::vector<uint8_t>(pixels.begin(), pixels.end()));
    Mirrored<int32_t> indices(random_integers(s.samples, 2, static_cast<uint32_t>(s.images)));
    Floats mean(random_tensor(s.channels, 3, 0.5f, 0.1f)), inverse(random_tensor(s.channels, 4, 4.0f)),
        out(nan_tensor(s.samples * size));
    both.run([&](Queue& q) {
      gather_augment(q,
                     {.images = images.on(q),
                      .count = s.images,
                      .height = s.height,
                      .width = s.width,
                      .channels = s.channels,
                      .mean = mean.on(q),
                      .inverse_std = inverse.on(q)},
                     indices.on(q), s.samples, {s.options, 77, 3}, out.on(q));
    });
    CHECK(out.same_bits());
  }
}

TEST_CASE("an index outside the data set makes its image NaN on the CUDA device, and no other") {
  BothQueues both;
  Mirrored<uint8_t> images(std::vector<uint8_t>(8, 100));
  Mirrored<int32_t> indices(std::vector<int32_t>{1, 2, -1, 0});
  Floats mean({0.5f}), inverse({2.0f}), out(std::vector<float>(16, 0.0f));
  gather_augment(both.cuda,
                 {.images = images.on(both.cuda),
                  .count = 2,
                  .height = 2,
                  .width = 2,
                  .channels = 1,
                  .mean = mean.on(both.cuda),
                  .inverse_std = inverse.on(both.cuda)},
                 indices.on(both.cuda), 4, {{}, 1, 0}, out.on(both.cuda));
  both.cuda.synchronize();
  const std::vector<float> values = out.on_cuda();
  for (size_t i = 0; i < values.size(); ++i) CHECK(std::isnan(values[i]) == (i / 4 == 1 || i / 4 == 2));
}
