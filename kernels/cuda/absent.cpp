// The build without CUDA: no device can be used.
#include "kernels/check.h"
#include "kernels/cuda/device.h"

namespace noisysgd::kernels::cuda {

namespace {
constexpr const char* reason = "this build has no CUDA backend";
}

std::string why_unusable(int) { return reason; }
std::shared_ptr<CudaState> make_state(int device_index) {
  throw Error(fmt::format("device cuda:{}: {}", device_index, reason));
}
void synchronize(const CudaState&) {}
void* allocate(int device_index, size_t) { throw Error(fmt::format("device cuda:{}: {}", device_index, reason)); }
void release(int, void*) noexcept {}

}  // namespace noisysgd::kernels::cuda
