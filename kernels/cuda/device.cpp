#include "kernels/cuda/device.h"

#include "kernels/cuda/state.h"

namespace noisysgd::kernels::cuda {

std::string why_unusable(int device_index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();  // the question is answered; no later call should meet the error
  if (error == cudaErrorInsufficientDriver) return "no NVIDIA driver, or one older than this build's CUDA";
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) return "this machine has no CUDA device";
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (device_index >= 0 && device_index < count) return {};
  return fmt::format("this machine has {} CUDA device{}, numbered from 0", count, count == 1 ? "" : "s");
}

std::shared_ptr<CudaState> make_state(int device_index) { return std::make_shared<CudaState>(device_index); }

void synchronize(CudaState& state) { state.wait(); }
int64_t waits(const CudaState& state) { return state.waits(); }

void* allocate(int device_index, size_t bytes) {
  NSGD_CUDA_CHECK(cudaSetDevice(device_index));
  void* pointer = nullptr;
  const cudaError_t error = cudaMalloc(&pointer, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  NSGD_CUDA_CHECK(error);
  return pointer;
}

void release(int device_index, void* pointer) noexcept {
  cudaSetDevice(device_index);
  cudaFree(pointer);
}

}  // namespace noisysgd::kernels::cuda
