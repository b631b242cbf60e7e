// Stubs for a build without CUDA, in which no CUDA device can be used.
#include <fmt/format.h>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/cuda/event_timer.h>
#include <noisysgd/kernels/op_graph.h>

namespace noisysgd::kernels::cuda {

namespace {
constexpr const char* reason = "this build has no CUDA backend";
}

std::string why_unusable(int) { return reason; }
std::shared_ptr<CudaState> make_state(int device_index) {
  throw Error(fmt::format("device cuda:{}: {}", device_index, reason));
}
std::string convolutions(const CudaState&) { return {}; }
void synchronize(CudaState&) {}
int64_t waits(const CudaState&) { return 0; }
bool recording(const CudaState&) { return false; }
void* allocate(int device_index, size_t) { throw Error(fmt::format("device cuda:{}: {}", device_index, reason)); }
void release(int, void*) noexcept {}

struct EventTimer::Events {};
EventTimer::EventTimer(Queue& queue) : queue_(queue) { throw Error(reason); }
EventTimer::~EventTimer() = default;
void EventTimer::start() {}
double EventTimer::stop() { return 0; }
std::vector<std::pair<std::string, std::string>> describe_device(int) { return {}; }

}  // namespace noisysgd::kernels::cuda

namespace noisysgd::kernels {

struct CudaRead::Parts {};
CudaRead::CudaRead(Queue&, size_t) {}
CudaRead::~CudaRead() = default;
void CudaRead::issue(const void*) {}
bool CudaRead::ready() const { return true; }
const void* CudaRead::wait() { return nullptr; }

struct OpGraph::Recorded {};
OpGraph::OpGraph(Queue&, const std::function<void()>&) { throw Error("this build has no CUDA backend"); }
OpGraph::~OpGraph() = default;
void OpGraph::launch() {}

}  // namespace noisysgd::kernels
