#include <noisysgd/kernels/cuda/event_timer.h>

#include <noisysgd/kernels/cuda/state.h>

namespace noisysgd::kernels::cuda {

struct EventTimer::Events {
  cudaEvent_t begin = nullptr, end = nullptr;
};

EventTimer::EventTimer(Queue& queue) : queue_(queue), events_(std::make_unique<Events>()) {
  NSGD_CUDA_CHECK(cudaEventCreate(&events_->begin));
  NSGD_CUDA_CHECK(cudaEventCreate(&events_->end));
}

EventTimer::~EventTimer() {
  cudaEventDestroy(events_->begin);
  cudaEventDestroy(events_->end);
}

void EventTimer::start() { NSGD_CUDA_CHECK(cudaEventRecord(events_->begin, queue_.cuda().stream())); }

double EventTimer::stop() {
  NSGD_CUDA_CHECK(cudaEventRecord(events_->end, queue_.cuda().stream()));
  queue_.cuda().wait(events_->end);
  float milliseconds = 0;
  NSGD_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events_->begin, events_->end));
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace noisysgd::kernels::cuda
