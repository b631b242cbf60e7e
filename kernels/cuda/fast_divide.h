// Division of 0 <= n < 2^31 by a divisor fixed at launch, as a multiplication: with l = ceil(log2 d) and m =
// ceil(2^(31+l) / d), n / d = n m >> (31+l) (Granlund, Montgomery, "Division by invariant integers using
// multiplication", PLDI 1994).
#pragma once

#include <bit>
#include <cstdint>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

class FastDivide {
 public:
  explicit FastDivide(int64_t divisor) : divisor_(static_cast<uint32_t>(divisor)) {
    NSGD_CHECK(divisor > 0 && divisor <= INT32_MAX, "an extent of {} does not lie in 1..{}", divisor, INT32_MAX);
    shift_ = 31 + std::bit_width(divisor_ - 1);
    multiplier_ = static_cast<uint32_t>(((uint64_t{1} << shift_) + divisor_ - 1) / divisor_);
  }
  // n becomes the remainder; the quotient is returned.
  __device__ int32_t reduce(int32_t& n) const {
    const auto quotient = static_cast<int32_t>((static_cast<uint64_t>(n) * multiplier_) >> shift_);
    n -= quotient * static_cast<int32_t>(divisor_);
    return quotient;
  }

 private:
  uint32_t divisor_, multiplier_;
  int shift_;
};

}  // namespace noisysgd::kernels::cuda
