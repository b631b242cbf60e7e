// Convolutions of any shape on the CUDA device, in single precision, against the CPU, which other tests compare with
// fp64 references.
#include <noisysgd/kernels/conv.h>

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/elementwise.h>
#include "tests/catch.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// Empty, odd channels, 5x5 and oblong kernels, strides, paddings, one position, several tiles of channels and of taps,
// more samples than shares, whole tiles of the window kernel.
const ConvShape conv_shapes[] = {
    {0, 4, 4, 1, 1, 3, 3, 1, 1, 0, 0},     {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},    {3, 7, 5, 3, 5, 3, 3, 1, 1, 1, 1},
    {2, 12, 12, 1, 20, 5, 5, 1, 1, 0, 0},  {33, 6, 6, 20, 50, 5, 5, 1, 1, 2, 2}, {5, 9, 8, 7, 33, 3, 3, 2, 2, 1, 1},
    {4, 8, 8, 65, 70, 1, 1, 2, 2, 0, 0},   {2, 5, 9, 4, 31, 2, 3, 2, 1, 0, 2},   {31, 2, 2, 40, 17, 3, 3, 1, 1, 1, 1},
    {3, 16, 16, 16, 16, 3, 3, 1, 1, 1, 1}, {600, 2, 2, 3, 4, 2, 2, 1, 1, 0, 0},  {600, 3, 3, 3, 4, 2, 2, 1, 1, 0, 0},
    {2, 8, 8, 32, 32, 3, 3, 1, 1, 1, 1},
};

}  // namespace

TEST_CASE("convolutions agree on both devices") {
  BothQueues both;
  for (const ConvShape& s : conv_shapes) {
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
    const int64_t in = input_size(s), out = output_size(s);
    Floats x(random_tensor(in, 1)), weight(random_tensor(s.weights(), 2)), bias(random_tensor(s.out_channels, 3)),
        grad_y(random_tensor(out, 4)), y(nan_tensor(out)), without_bias(nan_tensor(out)), rectified(nan_tensor(out)),
        apart(nan_tensor(out)), grad_x(nan_tensor(in)), grad_weight(random_tensor(s.weights(), 5));
    both.run([&](Queue& q) {
      conv_forward(q, s, x.on(q), weight.on(q), bias.on(q), y.on(q));
      conv_forward(q, s, x.on(q), weight.on(q), nullptr, without_bias.on(q));
      conv_forward(q, s, x.on(q), weight.on(q), BiasEpilogue(bias.on(q), true), rectified.on(q));
      relu_forward(q, out, y.on(q), apart.on(q));
      conv_backward_data(q, s, weight.on(q), grad_y.on(q), grad_x.on(q));
      conv_backward_weight(q, s, x.on(q), grad_y.on(q), grad_weight.on(q));
    });
    const double window = static_cast<double>(s.kernel_height * s.kernel_width);
    CHECK(y.difference({.terms = window * s.in_channels}) == "");
    CHECK(without_bias.difference({.terms = window * s.in_channels}) == "");
    CHECK(rectified.on_cuda() == apart.on_cuda());
    CHECK(grad_x.difference({.terms = window * s.out_channels}) == "");
    CHECK(grad_weight.difference({.terms = static_cast<double>(s.batch * s.positions())}) == "");
  }
}

TEST_CASE("convolutions of more positions than a grid has tiles for agree on both devices") {
  BothQueues both;
  const ConvShape s{2, 257, 257, 1, 3, 1, 1, 1, 1, 0, 0};
  const int64_t in = s.batch * s.height * s.width, out = 3 * in;
  Floats x(random_tensor(in, 1)), weight(random_tensor(s.weights(), 2)), grad_y(random_tensor(out, 3)),
      y(nan_tensor(out)), grad_x(nan_tensor(in));
  both.run([&](Queue& q) {
    conv_forward(q, s, x.on(q), weight.on(q), nullptr, y.on(q));
    conv_backward_data(q, s, weight.on(q), grad_y.on(q), grad_x.on(q));
  });
  CHECK(y.difference() == "");
  CHECK(grad_x.difference({.terms = 3}) == "");
}

TEST_CASE("fused weight gradients and second moments agree on both devices") {
  BothQueues both;
  for (const ConvShape& s : conv_shapes) {
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
    const int64_t in = input_size(s), out = output_size(s);
    Floats x(random_tensor(in, 1, 0.3f)), grad_y(random_tensor(out, 2, 0.1f)), exact_sum(random_tensor(s.weights(), 3)),
        exact(random_tensor(s.weights(), 4)), spatial_sum(random_tensor(s.weights(), 3)),
        spatial(random_tensor(s.weights(), 4)), direct(random_tensor(s.weights(), 3));
    both.run([&](Queue& q) {
      conv_second_moment_exact(q, s, x.on(q), grad_y.on(q), exact_sum.on(q), exact.on(q));
      conv_second_moment_spatial(q, s, x.on(q), grad_y.on(q), spatial_sum.on(q), spatial.on(q));
      conv_backward_weight_direct(q, s, x.on(q), grad_y.on(q), direct.on(q));
    });
    // condition: squares of factors and the square of their product round differently, and may cancel the old sums.
    const Tolerance tolerance{.terms = static_cast<double>(s.batch * s.positions()), .condition = 4};
    CHECK(exact_sum.difference(tolerance) == "");
    CHECK(exact.difference(tolerance) == "");
    CHECK(spatial_sum.difference(tolerance) == "");
    CHECK(spatial.difference(tolerance) == "");
    CHECK(direct.difference(tolerance) == "");
  }
}

TEST_CASE("sums over single samples agree on both devices") {
  BothQueues both;
  for (const ConvShape& s : conv_shapes) {
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
    const int64_t in = input_size(s), out = output_size(s);
    const int64_t taps = s.weights() / s.out_channels, rows = s.batch * s.out_channels;
    Floats x(random_tensor(in, 1, 0.3f)), grad_y(random_tensor(out, 2, 0.1f)), tap_mean(random_tensor(taps, 3)),
        slope(random_tensor(s.weights(), 4)), channel_sum(random_tensor(rows, 5)),
        channel_product(random_tensor(rows, 6)), signs(random_tensor(rows, 7)), sum(random_tensor(s.weights(), 8)),
        centered(random_tensor(s.weights(), 9)), with_signs(random_tensor(s.weights(), 10)),
        signs_alone(random_tensor(s.weights(), 10));
    both.run([&](Queue& q) {
      const SampleSums sums{centered.on(q),        tap_mean.on(q),   slope.on(q), channel_sum.on(q),
                            channel_product.on(q), with_signs.on(q), signs.on(q)};
      conv_sample_sums(q, s, x.on(q), grad_y.on(q), sums, sum.on(q));
      conv_sample_sums(q, s, x.on(q), grad_y.on(q), SampleSums{.signed_sum = signs_alone.on(q), .signs = signs.on(q)},
                       sum.on(q));
    });
    const Tolerance tolerance{.terms = static_cast<double>(s.batch * s.positions())};
    CHECK(sum.difference(tolerance) == "");
    CHECK(centered.difference(tolerance) == "");
    CHECK(with_signs.difference(tolerance) == "");
    CHECK(signs_alone.difference(tolerance) == "");
  }
}
