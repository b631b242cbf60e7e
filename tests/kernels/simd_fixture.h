// Shared by the tests of the vectorised kernels: the instruction sets of this processor, and buffers between guards.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <noisysgd/kernels/simd/simd_kernels.h>
#include "tests/catch.h"

namespace noisysgd::test {

inline std::vector<kernels::simd::Isa> supported_isas() {
  std::vector<kernels::simd::Isa> result;
  for (kernels::simd::Isa isa : kernels::simd::all_isas)
    if (kernels::simd::supported(isa)) result.push_back(isa);
  return result;
}

// Data between guards of NaN: a read beyond the ends shows in the result, and a write is detected.
class Guarded {
 public:
  explicit Guarded(const std::vector<float>& data) : size_(data.size()), buffer_(data.size() + 2 * guard, nan_) {
    std::copy(data.begin(), data.end(), buffer_.begin() + guard);
  }
  float* data() { return buffer_.data() + guard; }
  std::vector<float> values() const { return {buffer_.begin() + guard, buffer_.end() - guard}; }
  bool intact() const {
    for (size_t i = 0; i < guard; ++i)
      if (!std::isnan(buffer_[i]) || !std::isnan(buffer_[guard + size_ + i])) return false;
    return true;
  }

 private:
  static constexpr size_t guard = 64;
  static constexpr float nan_ = std::numeric_limits<float>::quiet_NaN();
  size_t size_;
  std::vector<float> buffer_;
};

}  // namespace noisysgd::test
