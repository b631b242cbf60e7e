#include "kernels/cuda/state.h"

#include "kernels/cuda/cudnn_conv.h"
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
  cudnn_api_ = cudnn::find_library(without_cudnn_);
}

cudnn::Convolutions* CudaState::cudnn() {
  if (cudnn_api_ && !cudnn_) cudnn_ = std::make_unique<cudnn::Convolutions>(*cudnn_api_, device_index_, stream_);
  return cudnn_.get();
}

std::string CudaState::convolutions() const {
  return cudnn_api_ ? cudnn::version_text(*cudnn_api_) : fmt::format("own kernels ({})", without_cudnn_);
}

CudaState::~CudaState() {
  cudnn_.reset();
  if (cublas_) cublasDestroy(cublas_);
  if (stream_) cudaStreamDestroy(stream_);
}

}  // namespace noisysgd::kernels
