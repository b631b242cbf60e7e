// Sizes of a convolution's arrays, and its shape in words.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

#include <noisysgd/kernels/conv.h>

namespace noisysgd::test {

inline int64_t input_size(const kernels::ConvShape& s) { return s.batch * s.height * s.width * s.in_channels; }
inline int64_t output_size(const kernels::ConvShape& s) { return s.batch * s.positions() * s.out_channels; }

inline std::string describe(const kernels::ConvShape& s) {
  return fmt::format("x [{},{},{},{}] k [{},{},{}] stride {}x{} padding {}x{}", s.batch, s.height, s.width,
                     s.in_channels, s.out_channels, s.kernel_height, s.kernel_width, s.stride_height, s.stride_width,
                     s.padding_height, s.padding_width);
}

}  // namespace noisysgd::test
