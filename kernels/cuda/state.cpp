#include <noisysgd/kernels/cuda/state.h>

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#include <noisysgd/kernels/cuda/cudnn_conv.h>
#include <noisysgd/kernels/cuda/device.h>

namespace noisysgd::kernels {

CudaState::CudaState(int device_index, Empty) : device_index_(device_index) {}

// Delegates to the empty state's constructor, so that the destructor runs if one of the steps fails.
CudaState::CudaState(int device_index) : CudaState(device_index, Empty{}) {
  const std::string reason = cuda::why_unusable(device_index);
  NSGD_CHECK(reason.empty(), "device cuda:{}: {}", device_index, reason);
  NSGD_CUDA_CHECK(cudaSetDevice(device_index));
  NSGD_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device_index));
  int shared_bytes = 0;
  NSGD_CUDA_CHECK(cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_index));
  shared_memory_ = static_cast<size_t>(shared_bytes);
  NSGD_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  NSGD_CUBLAS_CHECK(cublasCreate(&cublas_));
  NSGD_CUBLAS_CHECK(cublasSetStream(cublas_, stream_));
  int major = 0, minor = 0;
  NSGD_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_index));
  NSGD_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_index));
  has_wgmma_ = major == 9 && minor == 0;
  const char* const wgmma = std::getenv("NSGD_WGMMA");
  wants_wgmma_ = wgmma && std::string_view(wgmma) == "1";
  const size_t bytes = size_t{major >= 9 ? 32u : 4u} << 20;  // what cuBLAS recommends
  NSGD_CUDA_CHECK(cudaMalloc(&cublas_workspace_, bytes));
  NSGD_CUBLAS_CHECK(cublasSetWorkspace(cublas_, cublas_workspace_, bytes));  // after the stream, which resets it
  const std::vector<unsigned> zeros(most_counters);
  NSGD_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&counters_), zeros.size() * sizeof(unsigned)));
  NSGD_CUDA_CHECK(
      cudaMemcpyAsync(counters_, zeros.data(), zeros.size() * sizeof(unsigned), cudaMemcpyHostToDevice, stream_));
  NSGD_CUDA_CHECK(cudaStreamSynchronize(stream_));
  uses_cudnn_ = cudnn::find_library(without_cudnn_);
}

unsigned* CudaState::counters(int64_t count) const {
  NSGD_CHECK(count <= most_counters, "{} counters of blocks, of {}", count, most_counters);
  return counters_;
}

cudnn::Convolutions* CudaState::cudnn(Queue& queue) {
  if (uses_cudnn_ && !cudnn_) cudnn_ = std::make_unique<cudnn::Convolutions>(queue, device_index_, stream_);
  return cudnn_.get();
}

std::string CudaState::convolutions() const {
  return uses_cudnn_ ? cudnn::version_text() : fmt::format("own kernels ({})", without_cudnn_);
}

void CudaState::wait() {
  ++waits_;
  NSGD_CUDA_CHECK(cudaStreamSynchronize(stream_));
}

void CudaState::wait(cudaEvent_t event) {
  ++waits_;
  NSGD_CUDA_CHECK(cudaEventSynchronize(event));
}

CudaState::~CudaState() {
  cudnn_.reset();
  if (cublas_) cublasDestroy(cublas_);
  if (stream_) cudaStreamDestroy(stream_);
  if (cublas_workspace_) cudaFree(cublas_workspace_);
  if (counters_) cudaFree(counters_);
}

}  // namespace noisysgd::kernels
