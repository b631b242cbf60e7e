// The build without CUDA: no device can be used.
#include "kernels/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/event_timer.h"

namespace noisysgd::kernels::cuda {

namespace {
constexpr const char* reason = "this build has no CUDA backend";
}

std::string why_unusable(int) { return reason; }
std::shared_ptr<CudaState> make_state(int device_index) {
  throw Error(fmt::format("device cuda:{}: {}", device_index, reason));
}
std::string convolutions(const CudaState&) { return {}; }
void synchronize(const CudaState&) {}
void* allocate(int device_index, size_t) { throw Error(fmt::format("device cuda:{}: {}", device_index, reason)); }
void release(int, void*) noexcept {}

struct EventTimer::Events {};
EventTimer::EventTimer(Queue& queue) : queue_(queue) { throw Error(reason); }
EventTimer::~EventTimer() = default;
void EventTimer::start() {}
double EventTimer::stop() { return 0; }
std::vector<std::pair<std::string, std::string>> describe_device(int) { return {}; }

}  // namespace noisysgd::kernels::cuda
