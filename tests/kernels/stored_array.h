// An array of fp32 on the CPU, and the same numbers stored in fp16 or bf16 on the CUDA device.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <noisysgd/kernels/half.h>
#include "tests/kernels/mirrored.h"

namespace noisysgd::test {

class StoredArray {
 public:
  // The numbers are rounded to the type, which is f16 or bf16.
  StoredArray(DType type, const std::vector<float>& numbers)
      : type_(type), halves_(bits_of(numbers)), floats_(on_cuda()) {}

  // From element `first` on.
  kernels::Values on(const kernels::Queue& queue, int64_t first = 0) {
    if (queue.device().backend == Backend::cpu) return floats_.data() + first;
    return {halves_.on(queue) + first, type_};
  }
  const std::vector<float>& on_cpu() const { return floats_; }
  std::vector<float> on_cuda() const {
    std::vector<float> numbers;
    for (const uint16_t bits : halves_.on_cuda()) numbers.push_back(value_of(bits));
    return numbers;
  }
  // Empty if every element on the device is the CPU's rounded once, but for an error of `sums` times the root mean
  // square before that.
  std::string difference(double sums = 1e-5) const {
    const std::vector<float> actual = on_cuda();
    const double unit = type_ == DType::f16 ? 0x1p-11 : 0x1p-8;
    double squares = 0;
    int64_t finite = 0;
    for (const float number : floats_)
      if (std::isfinite(number)) squares += double{number} * number, ++finite;
    const double mean = std::sqrt(squares / static_cast<double>(std::max<int64_t>(finite, 1)));
    if (finite > 0 && mean == 0) return "the CPU's result is zero everywhere";
    for (size_t i = 0; i < actual.size(); ++i) {
      const double expected = floats_[i], error = std::abs(actual[i] - expected);
      const bool same = std::isnan(expected) ? std::isnan(actual[i])
                                             : error <= unit * std::abs(expected) + (1 + unit) * sums * mean + 0x1p-25;
      if (!same) return fmt::format("[{}] is {}, expected {}", i, actual[i], expected);
    }
    return "";
  }

 private:
  std::vector<uint16_t> bits_of(const std::vector<float>& numbers) const {
    std::vector<uint16_t> bits;
    for (const float number : numbers)
      bits.push_back(type_ == DType::f16 ? kernels::rounded<kernels::Half>(number).bits
                                         : kernels::rounded<kernels::BFloat16>(number).bits);
    return bits;
  }
  float value_of(uint16_t bits) const {
    return type_ == DType::f16 ? kernels::widened(kernels::Half{bits}) : kernels::widened(kernels::BFloat16{bits});
  }

  DType type_;
  Mirrored<uint16_t> halves_;
  std::vector<float> floats_;
};

}  // namespace noisysgd::test
