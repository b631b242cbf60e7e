// Memory of a device, and copies between it and the host.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <noisysgd/kernels/device.h>
#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

class CudaRead;  // pinned memory and an event: kernels/cuda/device.h

// At least 64-byte aligned, uninitialised; null if the device has too little memory. Freed with its last owner.
std::shared_ptr<void> allocate_memory(Device device, size_t bytes);

// `to` is on the queue's device. Waits for the copy, so `from` may be changed when the call returns.
NSGD_OP(copy_from_host, void(Queue& queue, size_t bytes, const void* from, void* to));

// `from` is on the queue's device. Waits for all ops issued before and for the copy, so `to` is complete on return.
NSGD_OP(copy_to_host, void(Queue& queue, size_t bytes, const void* from, void* to));

// A copy from the queue's device that the host reads later. The copy and the ops issued after it do not wait for each
// other.
class PendingRead {
 public:
  PendingRead(Queue& queue, size_t bytes);
  ~PendingRead();
  PendingRead(const PendingRead&) = delete;
  PendingRead& operator=(const PendingRead&) = delete;

  // Copies `from` as the ops issued before leave it. Requires that the previous copy has been waited for.
  void issue(const void* from);
  bool ready() const;
  const void* wait();  // the copy, valid until the next issue

 private:
  Queue& queue_;
  size_t bytes_;
  std::vector<std::byte> on_cpu_;
  std::unique_ptr<CudaRead> on_cuda_;
};

// `from` and `to` are on the queue's device and must not overlap.
NSGD_OP(copy, void(Queue& queue, size_t bytes, const void* from, void* to));

}  // namespace noisysgd::kernels
