// Convolutions on the CUDA device against the CPU, whose own tests compare them with fp64 references: in single
// precision for any shape, and on tensor cores.
#include "kernels/conv.h"

#include "kernels/conv_second_moment.h"
#include "kernels/cuda/conv_tensor.h"
#include "tests/catch.h"
#include "tests/kernels/mirrored.h"
#include "tests/kernels/simd_fixture.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// Empty, odd channels, 5x5 and oblong kernels, strides, paddings, one position, several tiles of channels and of taps.
const ConvShape conv_shapes[] = {
    {0, 4, 4, 1, 1, 3, 3, 1, 1, 0, 0},     {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},    {3, 7, 5, 3, 5, 3, 3, 1, 1, 1, 1},
    {2, 12, 12, 1, 20, 5, 5, 1, 1, 0, 0},  {33, 6, 6, 20, 50, 5, 5, 1, 1, 2, 2}, {5, 9, 8, 7, 33, 3, 3, 2, 2, 1, 1},
    {4, 8, 8, 65, 70, 1, 1, 2, 2, 0, 0},   {2, 5, 9, 4, 31, 2, 3, 2, 1, 0, 2},   {31, 2, 2, 40, 17, 3, 3, 1, 1, 1, 1},
    {3, 16, 16, 16, 16, 3, 3, 1, 1, 1, 1}, {600, 2, 2, 3, 4, 2, 2, 1, 1, 0, 0},
};

}  // namespace

TEST_CASE("convolutions agree on both devices") {
  BothQueues both;
  for (const ConvShape& s : conv_shapes) {
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
    const int64_t in = s.batch * s.height * s.width * s.in_channels, out = s.batch * s.positions() * s.out_channels;
    Floats x(random_tensor(in, 1)), weight(random_tensor(s.weights(), 2)), bias(random_tensor(s.out_channels, 3)),
        grad_y(random_tensor(out, 4)), y(nan_tensor(out)), without_bias(nan_tensor(out)), grad_x(nan_tensor(in)),
        grad_weight(random_tensor(s.weights(), 5));
    both.run([&](Queue& q) {
      conv_forward(q, s, x.on(q), weight.on(q), bias.on(q), y.on(q));
      conv_forward(q, s, x.on(q), weight.on(q), nullptr, without_bias.on(q));
      conv_backward_data(q, s, weight.on(q), grad_y.on(q), grad_x.on(q));
      conv_backward_weight(q, s, x.on(q), grad_y.on(q), grad_weight.on(q));
    });
    const double window = static_cast<double>(s.kernel_height * s.kernel_width);
    CHECK(y.difference({.terms = window * s.in_channels}) == "");
    CHECK(without_bias.difference({.terms = window * s.in_channels}) == "");
    CHECK(grad_x.difference({.terms = window * s.out_channels}) == "");
    CHECK(grad_weight.difference({.terms = static_cast<double>(s.batch * s.positions())}) == "");
  }
}

TEST_CASE("fused weight gradients and second moments agree on both devices") {
  BothQueues both;
  for (const ConvShape& s : conv_shapes) {
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
    const int64_t in = s.batch * s.height * s.width * s.in_channels, out = s.batch * s.positions() * s.out_channels;
    Floats x(random_tensor(in, 1, 0.3f)), grad_y(random_tensor(out, 2, 0.1f)), exact_sum(random_tensor(s.weights(), 3)),
        exact(random_tensor(s.weights(), 4)), spatial_sum(random_tensor(s.weights(), 3)),
        spatial(random_tensor(s.weights(), 4)), direct(random_tensor(s.weights(), 3));
    both.run([&](Queue& q) {
      conv_second_moment_exact(q, s, x.on(q), grad_y.on(q), exact_sum.on(q), exact.on(q));
      conv_second_moment_spatial(q, s, x.on(q), grad_y.on(q), spatial_sum.on(q), spatial.on(q));
      conv_backward_weight_direct(q, s, x.on(q), grad_y.on(q), direct.on(q));
    });
    const Tolerance tolerance{.terms = static_cast<double>(s.batch * s.positions())};
    CHECK(exact_sum.difference(tolerance) == "");
    CHECK(exact.difference(tolerance) == "");
    CHECK(spatial_sum.difference(tolerance) == "");
    CHECK(spatial.difference(tolerance) == "");
    CHECK(direct.difference(tolerance) == "");
  }
}

TEST_CASE("on tensor cores, weight gradients and second moments are exact up to rounding to tf32") {
  BothQueues both;
  both.cuda.set_precision(Precision::tf32);
  const auto square = [](int64_t batch, int64_t size, int64_t in, int64_t out, int64_t stride) {
    return ConvShape{batch, size, size, in, out, 3, 3, stride, stride, 1, 1};
  };
  // Every tiling; the last two have more samples than shares, and a share whose last item is incomplete.
  for (const ConvShape& s :
       {square(3, 32, 16, 16, 1), square(2, 32, 32, 64, 1), square(3, 16, 32, 32, 1), square(2, 16, 32, 64, 1),
        square(3, 8, 64, 64, 1), square(1, 8, 32, 32, 1), square(5, 4, 32, 128, 1), square(4, 32, 16, 32, 2),
        square(2, 16, 32, 64, 2), square(266, 4, 64, 64, 1), square(401, 8, 16, 32, 2)}) {
    CAPTURE(s.batch, s.height, s.in_channels, s.out_channels, s.stride_height);
    const int64_t in = s.batch * s.height * s.width * s.in_channels, out = s.batch * s.positions() * s.out_channels;
    for (const bool representable : {true, false}) {
      if (!representable && s.batch > 100) continue;  // large only for its samples: exact values show more
      CAPTURE(representable);
      std::vector<float> x_values = random_tensor(in, 1, 0.3f), grad_values = random_tensor(out, 2, 0.1f);
      if (representable) {  // halves in tf32, so that nothing at all is rounded
        for (float& value : x_values) value = std::round(2 * value) / 2;
        for (float& value : grad_values) value = std::round(2 * value) / 2;
      }
      const std::vector<float> before(static_cast<size_t>(s.weights()), 0.5f);
      Floats x(x_values), grad_y(grad_values), sum(before), moment(before), direct(before);
      CHECK(cuda::conv_tensor_shares(s, x.on(both.cuda), grad_y.on(both.cuda)) > 0);
      both.run([&](Queue& q) {
        conv_second_moment_exact(q, s, x.on(q), grad_y.on(q), sum.on(q), moment.on(q));
        conv_backward_weight_direct(q, s, x.on(q), grad_y.on(q), direct.on(q));
      });
      if (representable) {
        CHECK(sum.same_bits());
        CHECK(moment.same_bits());
        CHECK(direct.same_bits());
      } else {
        CHECK(sum.difference(within(1e-3)) == "");
        CHECK(moment.difference(within(2e-3)) == "");  // a square doubles the relative error
        CHECK(direct.difference(within(1e-3)) == "");
        CHECK_FALSE(moment.difference(within(1e-6)) == "");  // it did round: the tensor cores did the work
      }
    }
  }
}

TEST_CASE("with tf32 allowed, shapes that no tiling takes keep single precision") {
  BothQueues both;
  both.cuda.set_precision(Precision::tf32);
  for (const ConvShape& s : conv_shapes) {
    if (s.height == 16) continue;  // the one that a tiling takes
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
    const int64_t in = s.batch * s.height * s.width * s.in_channels, out = s.batch * s.positions() * s.out_channels;
    Floats x(random_tensor(in, 1, 0.3f)), grad_y(random_tensor(out, 2, 0.1f)), sum(random_tensor(s.weights(), 3)),
        moment(random_tensor(s.weights(), 4));
    CHECK(cuda::conv_tensor_shares(s, x.on(both.cuda), grad_y.on(both.cuda)) == 0);
    both.run([&](Queue& q) { conv_second_moment_exact(q, s, x.on(q), grad_y.on(q), sum.on(q), moment.on(q)); });
    const Tolerance tolerance{.terms = static_cast<double>(s.batch * s.positions())};
    CHECK(sum.difference(tolerance) == "");
    CHECK(moment.difference(tolerance) == "");
  }
  const ConvShape s{2, 16, 16, 32, 32, 3, 3, 1, 1, 1, 1};  // an address that no asynchronous copy of 16 bytes takes
  Floats x(random_tensor(2 * 256 * 32 + 1, 1));
  CHECK(cuda::conv_tensor_shares(s, x.on(both.cuda), x.on(both.cuda)) > 0);
  CHECK(cuda::conv_tensor_shares(s, x.on(both.cuda) + 1, x.on(both.cuda)) == 0);
}
