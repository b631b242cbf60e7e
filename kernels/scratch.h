// Scratch memory of an op: uninitialised pieces of the queue's workspace, valid until the Scratch object is destroyed.
//
//   Scratch scratch(queue);
//   float* const wide = scratch.take<float>(width);
//   const auto [mean, m2] = scratch.take<double, float>(channels, channels);  // one allocation for both
//
// An op that is called in the meantime gets memory after these pieces. Pieces are 64-byte aligned, on a CUDA device
// 256-byte aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels {

class Scratch {
 public:
  explicit Scratch(Queue& queue) : workspace_(queue.workspace()), begin_(workspace_.open()) {}
  ~Scratch() { workspace_.close(begin_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  static void* operator new(size_t) = delete;  // scopes must end in reverse order

  // Throws OutOfMemory if the device has too little memory. Throws Error if a later Scratch of the queue still exists,
  // or if the workspace would have to grow while a graph is recorded. Pieces taken before keep their address and
  // content.
  template <class T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(workspace_.take(begin_, bytes<T>(count)));
  }
  template <class... T, class... Count>
  requires(sizeof...(T) > 1 && sizeof...(T) == sizeof...(Count)) std::tuple<T*...> take(Count... counts) {
    std::byte* next = workspace_.take(begin_, (bytes<T>(counts) + ...));
    return {reinterpret_cast<T*>(std::exchange(next, next + bytes<T>(counts)))...};  // braces are evaluated in order
  }

 private:
  template <class T>
  static size_t bytes(int64_t count) {
    return Workspace::rounded(static_cast<size_t>(count) * sizeof(T));
  }

  Workspace& workspace_;
  Workspace::Mark begin_;
};

}  // namespace noisysgd::kernels
