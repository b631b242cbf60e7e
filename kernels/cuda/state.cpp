#include "kernels/cuda/state.h"

#include "kernels/cuda/device.h"

namespace noisysgd::kernels {

CudaState::CudaState(int device_index) : device_index_(device_index) {
  const std::string reason = cuda::why_unusable(device_index);
  NSGD_CHECK(reason.empty(), "device cuda:{}: {}", device_index, reason);
  NSGD_CUDA_CHECK(cudaSetDevice(device_index));
  NSGD_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device_index));
  NSGD_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  NSGD_CUBLAS_CHECK(cublasCreate(&cublas_));
  NSGD_CUBLAS_CHECK(cublasSetStream(cublas_, stream_));
}

CudaState::~CudaState() {
  if (cublas_) cublasDestroy(cublas_);
  if (stream_) cudaStreamDestroy(stream_);
}

}  // namespace noisysgd::kernels
