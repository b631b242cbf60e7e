// Queries and memory of a CUDA device, in builds with CUDA (device.cpp) and without (absent.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace noisysgd::kernels {

class CudaState;
class Queue;

// The CUDA side of a PendingRead (kernels/memory.h).
class CudaRead {
 public:
  CudaRead(Queue& queue, size_t bytes);
  ~CudaRead();
  CudaRead(const CudaRead&) = delete;
  CudaRead& operator=(const CudaRead&) = delete;

  void issue(const void* from);
  bool ready() const;
  const void* wait();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace noisysgd::kernels

namespace noisysgd::kernels::cuda {

// Why the device cannot be used, in one line ("this build has no CUDA backend", …); empty if it can.
std::string why_unusable(int device_index);

std::shared_ptr<CudaState> make_state(int device_index);
// The implementation of convolutions: "cuDNN 9.19.0", or "own kernels" and the reason.
std::string convolutions(const CudaState& state);
// {"gpu": …, "compute_capability": "9.0", "multiprocessors": …, "cuda_runtime": "13.0", "cuda_driver": …,
// "nvidia_driver": "580.95.05", "cublas": "13.1.0", "emulated": "yes"}; empty without CUDA.
std::vector<std::pair<std::string, std::string>> describe_device(int device_index);
void synchronize(CudaState& state);
int64_t waits(const CudaState& state);
bool recording(const CudaState& state);  // its stream is being captured

// 256-byte aligned device memory; null if there is too little.
void* allocate(int device_index, size_t bytes);
void release(int device_index, void* pointer) noexcept;

}  // namespace noisysgd::kernels::cuda
