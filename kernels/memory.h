// Memory of a device, and copies between it and the host.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/device.h"
#include "kernels/dispatch.h"

namespace noisysgd::kernels {

// At least 64-byte aligned, uninitialised; null if the device's memory does not suffice. Freed by its last owner.
std::shared_ptr<void> allocate_memory(Device device, size_t bytes);

// `to` is on the queue's device. `from` may be changed when the call returns.
NSGD_OP(copy_from_host, void(Queue& queue, size_t bytes, const void* from, void* to));

// `from` is on the queue's device; waits for all ops issued before, so that `to` is there when the call returns.
NSGD_OP(copy_to_host, void(Queue& queue, size_t bytes, const void* from, void* to));

// Both on the queue's device; they do not overlap.
NSGD_OP(copy, void(Queue& queue, size_t bytes, const void* from, void* to));

}  // namespace noisysgd::kernels
