// The bytes that the passes of a residual network should move: every pass reads and writes each of its tensors once.
// Weights, their partial sums and everything else that does not grow with the batch is counted too, as far as it is
// more than a thousandth.
#pragma once

#include <noisysgd/kernels/cuda/conv_weight_gradient.h>

namespace noisysgd::test {

struct Bytes {
  double read = 0, written = 0;
  Bytes& operator+=(const Bytes& other) {
    read += other.read;
    written += other.written;
    return *this;
  }
  double sum() const { return read + written; }
};

// A convolution without bias.
struct ConvBytes {
  double x, y, weights;  // bytes of the input, of which a 1x1 convolution of stride 2 reads a quarter, and so on
  double x_read;
  double partial_read = 0, partial_written = 0;  // the weight gradient's partial sums

  // half: activations of 16 bits, of a shape that conv_window_halves takes.
  explicit ConvBytes(const kernels::ConvShape& shape, bool half = false)
      : x((half ? 2.0 : 4.0) * static_cast<double>(shape.batch * shape.height * shape.width * shape.in_channels)),
        y((half ? 2.0 : 4.0) * static_cast<double>(shape.batch * shape.positions() * shape.out_channels)),
        weights(4.0 * static_cast<double>(shape.weights())),
        x_read(shape.kernel_height == 1 ? x / static_cast<double>(shape.stride_height * shape.stride_width) : x) {
    using namespace kernels::cuda;
    const auto tf32 = kernels::Precision::tf32;
    constexpr size_t shared_memory = size_t{227} << 10;
    const ConvKernel* kernel =
        half ? conv_window_halves(shape, shared_memory) : conv_window(shape, SecondMoment::none, tf32, shared_memory);
    if (!kernel) kernel = conv_gather(shape, tf32);
    const auto [tiles, shares] = kernel->grid(shape);
    const int64_t tile_bytes = 4 * tiles.size(), team = team_of(shares, tile_bytes);
    const auto bytes_of = [&](int64_t parts) { return static_cast<double>(parts * tiles.count() * tile_bytes); };
    partial_written = bytes_of(shares);
    if (team == 0) partial_read = partial_written;
    if (team > 0 && team < shares) partial_written += bytes_of((shares + team - 1) / team);
  }

  Bytes forward() const { return {x_read + weights, y}; }
  Bytes data_gradient() const { return {y + weights, x}; }
  // The partial sums of shares and teams are written, and added to the gradient. The launch that writes them finds them
  // in the cache. A second launch would read them.
  Bytes weight_gradient() const { return {x_read + y + partial_read + weights, partial_written + weights}; }
  Bytes backward() const {
    Bytes both = data_gradient();
    return both += weight_gradient();
  }
};

// Batch normalisation of a tensor of `p` bytes: the statistics read it, the normalisation reads and writes it.
struct NormBytes {
  double p;
  Bytes forward() const { return {2 * p, p}; }
  Bytes forward_with_addend() const { return {3 * p, p}; }
  // Sums read the input and the gradient. The input's gradient takes both again.
  Bytes backward() const { return {4 * p, p}; }
  // The sums also read the second gradient, and write the sum.
  Bytes backward_of_two() const { return {5 * p, 2 * p}; }
  // The sums also read the saved output, for the ReLU of a sum.
  Bytes backward_of_sum(bool two_gradients) const { return {(two_gradients ? 6 : 5) * p, 2 * p}; }
};

}  // namespace noisysgd::test
