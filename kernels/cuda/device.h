// What core asks of a CUDA device, in builds with CUDA (device.cpp) and without (absent.cpp).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace noisysgd::kernels {
class CudaState;
}

namespace noisysgd::kernels::cuda {

// Why the device cannot be used, in one line ("this build has no CUDA backend", …); empty if it can.
std::string why_unusable(int device_index);

std::shared_ptr<CudaState> make_state(int device_index);
// What computes convolutions: "cuDNN 9.19.0", or "own kernels" and why.
std::string convolutions(const CudaState& state);
// {"gpu": …, "compute_capability": "9.0", "multiprocessors": …, "cuda_runtime": "13.0", "cuda_driver": …, "emulated":
// "yes"}; empty without CUDA.
std::vector<std::pair<std::string, std::string>> describe_device(int device_index);
void synchronize(const CudaState& state);

// 256-byte aligned device memory; null if it does not suffice.
void* allocate(int device_index, size_t bytes);
void release(int device_index, void* pointer) noexcept;

}  // namespace noisysgd::kernels::cuda
