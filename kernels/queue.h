// The explicit execution context every op takes first: device, thread count, library handles and reusable workspace.
// Ops on one queue run in the order they are issued. A queue is not shared between threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/device.h"

namespace noisysgd::kernels {

class OnednnState;  // engine, stream and prepared primitives of the CPU backend: kernels/onednn.h

class Queue {
 public:
  // threads: OpenMP threads of the CPU backend, 0 = all cores that the process may use.
  explicit Queue(Device device = {}, int threads = 0);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  const Device& device() const { return device_; }
  int threads() const { return threads_; }

  // Scratch memory of at least `bytes` bytes, 64-byte aligned, valid until the next call on this queue. It grows to the
  // largest request and stays; its content is undefined.
  void* workspace(size_t bytes);
  size_t workspace_bytes() const { return workspace_bytes_; }

  OnednnState& onednn();
  void synchronize() {}

 private:
  struct AlignedDelete {
    void operator()(void* pointer) const;
  };
  Device device_;
  int threads_;
  size_t workspace_bytes_ = 0;
  std::unique_ptr<void, AlignedDelete> workspace_;
  std::unique_ptr<OnednnState> onednn_;
};

}  // namespace noisysgd::kernels
