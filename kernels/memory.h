// Memory of a device, and copies between it and the host.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <noisysgd/kernels/device.h>
#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

class CudaRead;  // pinned memory and an event: kernels/cuda/device.h

// At least 64-byte aligned, uninitialised; null if the device's memory does not suffice. Freed by its last owner.
std::shared_ptr<void> allocate_memory(Device device, size_t bytes);

// `to` is on the queue's device. `from` may be changed when the call returns: it waits for the copy.
NSGD_OP(copy_from_host, void(Queue& queue, size_t bytes, const void* from, void* to));

// `from` is on the queue's device; waits for all ops issued before, so that `to` is there when the call returns.
NSGD_OP(copy_to_host, void(Queue& queue, size_t bytes, const void* from, void* to));

// A copy from the queue's device that the host looks at later: ops issued meanwhile do not wait for it, nor it for
// them.
class PendingRead {
 public:
  PendingRead(Queue& queue, size_t bytes);
  ~PendingRead();
  PendingRead(const PendingRead&) = delete;
  PendingRead& operator=(const PendingRead&) = delete;

  // Copies what ops issued before leave at `from`; an earlier copy must have been waited for.
  void issue(const void* from);
  bool ready() const;
  const void* wait();  // the copy, valid until the next issue

 private:
  Queue& queue_;
  size_t bytes_;
  std::vector<std::byte> on_cpu_;
  std::unique_ptr<CudaRead> on_cuda_;
};

// Both on the queue's device; they do not overlap.
NSGD_OP(copy, void(Queue& queue, size_t bytes, const void* from, void* to));

}  // namespace noisysgd::kernels
