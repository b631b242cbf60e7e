// The shape of a convolution for kernels: 32-bit extents of one sample, with precomputed divisions by them.
#pragma once

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/cuda/fast_divide.h>

namespace noisysgd::kernels::cuda {

struct ConvGeometry {
  int64_t batch;
  int32_t height, width, in_channels, out_channels, kernel_height, kernel_width;
  int32_t stride_height, stride_width, padding_height, padding_width, out_height, out_width;
  FastDivide by_width, by_out_width, by_in_channels, by_out_channels, by_kernel_width, by_stride_height,
      by_stride_width;

  explicit ConvGeometry(const ConvShape& s)
      : batch(s.batch),
        height(narrow(s.height)),
        width(narrow(s.width)),
        in_channels(narrow(s.in_channels)),
        out_channels(narrow(s.out_channels)),
        kernel_height(narrow(s.kernel_height)),
        kernel_width(narrow(s.kernel_width)),
        stride_height(narrow(s.stride_height)),
        stride_width(narrow(s.stride_width)),
        padding_height(narrow(s.padding_height)),
        padding_width(narrow(s.padding_width)),
        out_height(narrow(s.out_height())),
        out_width(narrow(s.out_width())),
        by_width(s.width),
        by_out_width(s.out_width()),
        by_in_channels(s.in_channels),
        by_out_channels(s.out_channels),
        by_kernel_width(s.kernel_width),
        by_stride_height(s.stride_height),
        by_stride_width(s.stride_width) {
    narrow(s.weights());
    narrow(s.height * s.width * s.in_channels);
    narrow(s.positions() * s.out_channels);
  }

  __host__ __device__ int32_t in_positions() const { return height * width; }
  __host__ __device__ int32_t out_positions() const { return out_height * out_width; }
  __host__ __device__ int32_t taps() const { return kernel_height * kernel_width * in_channels; }  // R*S*C
  __host__ __device__ int32_t weights() const { return out_channels * taps(); }
  __host__ __device__ int64_t in_size() const { return int64_t{in_positions()} * in_channels; }
  __host__ __device__ int64_t out_size() const { return int64_t{out_positions()} * out_channels; }

 private:
  static int32_t narrow(int64_t extent) {
    NSGD_CHECK(extent <= INT32_MAX, "conv: an extent of {} per sample is too large for a CUDA device", extent);
    return static_cast<int32_t>(extent);
  }
};

// Row r, column s and channel c of tap number (r*S + s)*C + c.
struct Tap {
  int32_t row, column, channel;
};

__device__ inline Tap tap_of(int32_t number, const FastDivide& by_channels, const FastDivide& by_kernel_width) {
  int32_t channel = number;
  int32_t column = by_channels.reduce(channel);
  const int32_t row = by_kernel_width.reduce(column);
  return {row, column, channel};
}

}  // namespace noisysgd::kernels::cuda
