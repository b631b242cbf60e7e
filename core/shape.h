// The extents of a tensor, outermost first. Activations are [N,H,W,C] or [N,F]; filters are [K,R,S,C].
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <numeric>
#include <string>
#include <vector>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

// Limit for the activation of one sample and for one parameter.
inline constexpr int64_t most_elements = 2'147'483'647;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : extents_(extents) {}
  explicit Shape(std::vector<int64_t> extents) : extents_(std::move(extents)) {}

  int rank() const { return static_cast<int>(extents_.size()); }
  int64_t operator[](int axis) const { return extents_[static_cast<size_t>(axis < 0 ? axis + rank() : axis)]; }
  // True if there are at most `limit` elements; false if their number overflows 64 bits.
  bool has_at_most(int64_t limit) const {
    int64_t product = 1;
    return std::none_of(extents_.begin(), extents_.end(),
                        [&](int64_t extent) { return __builtin_mul_overflow(product, extent, &product); }) &&
           product <= limit;
  }
  // Throws Error above 2^60 elements: their bytes must be countable in 64 bits.
  int64_t elements() const {
    NSGD_CHECK(has_at_most(int64_t{1} << 60), "a tensor of shape {} has too many elements", text());
    return std::accumulate(extents_.begin(), extents_.end(), int64_t{1}, std::multiplies<>());
  }
  const std::vector<int64_t>& extents() const { return extents_; }
  bool operator==(const Shape&) const = default;

  // [n, *this]: the shape of a batch of n of these.
  Shape batched(int64_t n) const {
    std::vector<int64_t> extents{n};
    extents.insert(extents.end(), extents_.begin(), extents_.end());
    return Shape(std::move(extents));
  }
  Shape sample() const { return Shape(std::vector<int64_t>(extents_.begin() + 1, extents_.end())); }

  // In PyTorch's order: [H,W,C] -> [C,H,W] for the shape of one image; other shapes are unchanged.
  Shape channels_first() const { return rank() == 3 ? Shape{extents_[2], extents_[0], extents_[1]} : *this; }

  std::string text() const {
    std::string text = "[";
    for (const int64_t extent : extents_) {
      if (text.size() > 1) text += ',';
      text += std::to_string(extent);
    }
    text += ']';
    return text;
  }

 private:
  std::vector<int64_t> extents_;
};

}  // namespace noisysgd
