#include "kernels/cuda/event_timer.h"

#include "kernels/cuda/state.h"

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
  NSGD_CUDA_CHECK(cudaEventSynchronize(events_->end));
  float milliseconds = 0;
  NSGD_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events_->begin, events_->end));
  return 1e-3 * static_cast<double>(milliseconds);
}

std::vector<std::pair<std::string, std::string>> describe_device(int device_index) {
  cudaDeviceProp properties{};
  NSGD_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  const auto version = [](cudaError_t (*ask)(int*)) {
    int number = 0;
    NSGD_CUDA_CHECK(ask(&number));
    return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
  };
  return {{"gpu", properties.name},
          {"compute_capability", fmt::format("{}.{}", properties.major, properties.minor)},
          {"multiprocessors", std::to_string(properties.multiProcessorCount)},
          {"gpu_memory_mib", std::to_string(properties.totalGlobalMem >> 20)},
          {"cuda_runtime", version(cudaRuntimeGetVersion)},
          {"cuda_driver", version(cudaDriverGetVersion)},
          {"emulated", cuda_emulated ? "yes" : "no"}};
}

}  // namespace noisysgd::kernels::cuda
