#include <noisysgd/kernels/queue.h>

#include <omp.h>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/memory.h>
#include <noisysgd/kernels/onednn.h>

namespace noisysgd::kernels {

Queue::Queue(Device device, int threads) : device_(device), threads_(threads == 0 ? omp_get_num_procs() : threads) {
  NSGD_CHECK(threads >= 0, "queue on {}: {} threads, expected at least 1, or 0 for all cores", device.name(), threads);
  if (device.backend == Backend::cuda) cuda_ = cuda::make_state(device.index);
}

Queue::~Queue() = default;

void Queue::set_precision(Precision precision) {
  if (device_.backend == Backend::cuda) precision_ = precision;
}

std::shared_ptr<void> Queue::allocate(size_t bytes) {
  std::shared_ptr<void> memory = allocate_memory(device_, bytes);
  if (!memory && give_back_reserve()) memory = allocate_memory(device_, bytes);
  return memory;
}

bool Queue::give_back_reserve() {
  if (reserve_) reserve_();
  return reserve_ != nullptr;
}

bool Queue::recording() const { return cuda_ && cuda::recording(*cuda_); }

void Queue::synchronize() {
  if (cuda_) cuda::synchronize(*cuda_);
}

int64_t Queue::waits() const { return cuda_ ? cuda::waits(*cuda_) : 0; }

OnednnState& Queue::onednn() {
  if (!onednn_) onednn_ = std::make_unique<OnednnState>();
  return *onednn_;
}

}  // namespace noisysgd::kernels
