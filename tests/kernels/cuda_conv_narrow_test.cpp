// The CUDA kernel of narrow 3x3 convolutions against fp64: its shapes, halos, bands and the last item of
// every block, forward and backward.
#include <noisysgd/kernels/cuda/conv_narrow.h>

#include <array>
#include <bit>

#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/queue.h>
#include "tests/catch.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/mirrored.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

ConvShape square(int64_t batch, int64_t size, int64_t channels) {
  return {batch, size, size, channels, channels, 3, 3, 1, 1, 1, 1};
}

// To the nearest number of 10 fraction bits, ties to even.
std::vector<float> rounded(std::vector<float> values) {
  for (float& value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    value = std::bit_cast<float>((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
  }
  return values;
}

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

struct Results {
  std::vector<float> y, grad_x;
};

Results run(Queue& queue, const ConvShape& s, const std::vector<float>& x, const std::vector<float>& weight,
            const std::vector<float>& grad_y) {
  Floats input(x), filter(weight), grad(grad_y), y(nan_tensor(output_size(s))), grad_x(nan_tensor(input_size(s)));
  CHECK(cuda::narrow_forward(queue, s, input.on(queue), filter.on(queue), y.on(queue)));
  CHECK(cuda::narrow_backward_data(queue, s, filter.on(queue), grad.on(queue), grad_x.on(queue)));
  queue.synchronize();
  return {y.on_cuda(), grad_x.on_cuda()};
}

}  // namespace

TEST_CASE("narrow convolutions are exact on values that tf32 holds") {
  Queue queue({Backend::cuda});
  queue.set_precision(Precision::tf32);
  // One sample; and one more than there are multiprocessors, so some block computes several items.
  for (const int64_t batch : {1, queue.cuda().multiprocessors() + 1})
    for (const ConvShape& s : {square(batch, 32, 16), square(2 * batch, 16, 32)}) {
      CAPTURE(s.batch, s.height, s.in_channels);
      const std::vector<float> x = halves(random_tensor(input_size(s), 1, 0.3f)),
                               weight = halves(random_tensor(s.weights(), 2)),
                               grad_y = halves(random_tensor(output_size(s), 3, 0.1f));
      const Results results = run(queue, s, x, weight, grad_y);
      CHECK(results.y == floats(reference::conv_forward(s, to_double(x), to_double(weight), {})));
      CHECK(results.grad_x ==
            floats(reference::conv_backward(s, to_double(x), to_double(weight), to_double(grad_y)).x));
    }
}

TEST_CASE("narrow convolutions round their operands to tf32 and nothing else") {
  Queue queue({Backend::cuda});
  for (const Precision precision : {Precision::tf32, Precision::half}) {
    queue.set_precision(precision);
    for (const ConvShape& s : {square(2, 32, 16), square(2, 16, 32)}) {
      CAPTURE(precision, s.height);
      const std::vector<float> x = random_tensor(input_size(s), 1, 0.3f), weight = random_tensor(s.weights(), 2),
                               grad_y = random_tensor(output_size(s), 3, 0.1f);
      const Results results = run(queue, s, x, weight, grad_y);
      const auto errors = [&](const std::vector<float>& images, const std::vector<float>& filter,
                              const std::vector<float>& gradients) {
        const auto y = reference::conv_forward(s, to_double(images), to_double(filter), {});
        const auto back = reference::conv_backward(s, to_double(images), to_double(filter), to_double(gradients));
        return std::array{relative_error(results.y, y), relative_error(results.grad_x, back.x)};
      };
      for (const double error : errors(x, weight, grad_y)) {
        CHECK(error < 5e-4);  // a unit roundoff of 2^-11 in either operand
        CHECK(error > 5e-5);
      }
      // The remaining errors are those of sums in single precision.
      for (const double error : errors(rounded(x), rounded(weight), rounded(grad_y))) CHECK(error < 1e-5);
    }
  }
}

TEST_CASE("narrow convolutions leave other shapes, fp32 and unaligned addresses alone") {
  Queue queue({Backend::cuda});
  queue.set_precision(Precision::tf32);
  const ConvShape taken = square(1, 16, 32);
  Floats x(random_tensor(input_size(square(1, 34, 32)) + 1, 1)), weight(random_tensor(9 * 64 * 64, 2)),
      y(nan_tensor(input_size(square(1, 34, 32)) + 1));
  const auto takes = [&](const ConvShape& s, int64_t offset = 0) {
    return cuda::narrow_forward(queue, s, x.on(queue) + offset, weight.on(queue), y.on(queue)) ||
           cuda::narrow_backward_data(queue, s, weight.on(queue), y.on(queue) + offset, x.on(queue));
  };
  std::vector<ConvShape> others{square(1, 32, 32), square(1, 16, 16), square(1, 8, 32)};
  for (int64_t ConvShape::*const member :
       {&ConvShape::width, &ConvShape::out_channels, &ConvShape::kernel_height, &ConvShape::kernel_width,
        &ConvShape::stride_height, &ConvShape::stride_width, &ConvShape::padding_height, &ConvShape::padding_width}) {
    others.push_back(taken);
    others.back().*member += 1;
  }
  for (const ConvShape& s : others) CHECK_FALSE(takes(s));
  CHECK_FALSE(takes(taken, 1));
  CHECK(takes(taken));
  queue.set_precision(Precision::fp32);
  CHECK_FALSE(takes(taken));
}
