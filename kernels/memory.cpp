#include "kernels/memory.h"

#include <cstdlib>
#include <cstring>

#include "kernels/cuda/device.h"

namespace noisysgd::kernels {

std::shared_ptr<void> allocate_memory(Device device, size_t bytes) {
  if (device.backend == Backend::cpu) {
    void* pointer = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    return pointer ? std::shared_ptr<void>(pointer, std::free) : nullptr;
  }
  void* pointer = cuda::allocate(device.index, bytes);
  if (!pointer) return nullptr;
  return std::shared_ptr<void>(pointer, [index = device.index](void* block) { cuda::release(index, block); });
}

namespace cpu {

namespace {
void copy_bytes(size_t bytes, const void* from, void* to) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
}  // namespace

void copy_from_host(Queue&, size_t bytes, const void* from, void* to) { copy_bytes(bytes, from, to); }
void copy_to_host(Queue&, size_t bytes, const void* from, void* to) { copy_bytes(bytes, from, to); }
void copy(Queue&, size_t bytes, const void* from, void* to) { copy_bytes(bytes, from, to); }

}  // namespace cpu

}  // namespace noisysgd::kernels
