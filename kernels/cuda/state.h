// The CUDA objects of a queue: its device, stream and library handles. Internal to the CUDA backend.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <noisysgd/kernels/cuda/runtime.h>

namespace noisysgd::kernels {

class Queue;

namespace cudnn {
class Convolutions;
}  // namespace cudnn

class CudaState {
 public:
  // Throws Error if the device cannot be used (cuda::why_unusable).
  explicit CudaState(int device_index);
  ~CudaState();
  CudaState(const CudaState&) = delete;
  CudaState& operator=(const CudaState&) = delete;

  int device_index() const { return device_index_; }
  cudaStream_t stream() const { return stream_; }
  // Uses stream(), reads scalars from the host and sums in fp32. It has a workspace of its own, so its calls can be
  // recorded (kernels/op_graph.h).
  cublasHandle_t cublas() const { return cublas_; }
  int multiprocessors() const { return multiprocessors_; }
  // Bytes of shared memory that a block may have: from least_shared_memory (kernels/cuda/launch.h) to 227 KiB.
  size_t shared_memory() const { return shared_memory_; }
  // `count` words in device memory that count finished blocks (kernels/cuda/last_block.h). They are 0 between kernels.
  // All kernels of the queue use the same ones. Throws Error for more than most_counters.
  unsigned* counters(int64_t count) const;
  static constexpr int64_t most_counters = 4096;
  // Whether the device has asynchronous products (compute capability 9.0), and whether they are to be used: by default
  // they are not, as no GPU has shown them to be faster. NSGD_WGMMA=1 selects them.
  bool has_wgmma() const { return has_wgmma_; }
  bool wgmma() const { return has_wgmma_ && wants_wgmma_; }
  // cuDNN's convolutions for a queue of this device, created on the first call; null if own kernels compute them.
  cudnn::Convolutions* cudnn(Queue& queue);
  // The implementation of convolutions: "cuDNN 9.19.0", "own kernels (libcudnn.so.9: cannot open …)".
  std::string convolutions() const;

  // Returns when the stream's work is done, or the work before the event. The host waits in these functions only.
  void wait();
  void wait(cudaEvent_t event);
  int64_t waits() const { return waits_; }

 private:
  struct Empty {};
  CudaState(int device_index, Empty);  // holds nothing yet

  int device_index_;
  int multiprocessors_ = 0;
  size_t shared_memory_ = 0;
  bool has_wgmma_ = false, wants_wgmma_ = false;
  int64_t waits_ = 0;
  cudaStream_t stream_ = nullptr;
  cublasHandle_t cublas_ = nullptr;
  void* cublas_workspace_ = nullptr;
  unsigned* counters_ = nullptr;
  bool uses_cudnn_ = false;
  std::string without_cudnn_;                   // the reason
  std::unique_ptr<cudnn::Convolutions> cudnn_;  // created on first use
};

}  // namespace noisysgd::kernels
