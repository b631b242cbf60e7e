#include <noisysgd/kernels/memory.h>

#include <cstdlib>
#include <cstring>

#include <noisysgd/kernels/cuda/device.h>

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

PendingRead::PendingRead(Queue& queue, size_t bytes) : queue_(queue), bytes_(bytes) {
  if (queue.device().backend == Backend::cuda)
    on_cuda_ = std::make_unique<CudaRead>(queue, bytes);
  else
    on_cpu_.resize(bytes);
}

PendingRead::~PendingRead() = default;

void PendingRead::issue(const void* from) {
  if (on_cuda_)
    on_cuda_->issue(from);
  else if (bytes_ > 0)
    std::memcpy(on_cpu_.data(), from, bytes_);
}

bool PendingRead::ready() const { return !on_cuda_ || on_cuda_->ready(); }

const void* PendingRead::wait() { return on_cuda_ ? on_cuda_->wait() : on_cpu_.data(); }

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
