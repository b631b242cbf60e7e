// Several arrays in one piece of a queue's workspace, each 64-byte aligned:
//   ScratchLayout layout;  const auto sums = layout.add<double>(n);  void* base = queue.workspace(layout.bytes());
//   double* s = sums.in(base);
#pragma once

#include <cstddef>
#include <cstdint>

namespace noisysgd::kernels {

template <class T>
struct ScratchArray {
  size_t offset;
  T* in(void* base) const { return reinterpret_cast<T*>(static_cast<std::byte*>(base) + offset); }
};

class ScratchLayout {
 public:
  template <class T>
  ScratchArray<T> add(int64_t count) {
    const size_t offset = bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return {offset};
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

}  // namespace noisysgd::kernels
