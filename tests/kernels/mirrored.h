// One array on the CPU and its copy on the CUDA device (emulated or real), for tests that run an op on both.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <noisysgd/kernels/cuda/runtime.h>
#include <noisysgd/kernels/queue.h>
#include "tests/compare.h"
#include "tests/random_tensor.h"

namespace noisysgd::test {

struct BothQueues {
  kernels::Queue cpu{{}, 1};
  kernels::Queue cuda{{Backend::cuda, 0}};
  // call(queue) on the CPU, then on the device.
  template <class Call>
  void run(const Call& call) {
    call(cpu);
    call(cuda);
    cuda.synchronize();
  }
};

template <class T>
class Mirrored {
 public:
  explicit Mirrored(std::vector<T> values) : host_(std::move(values)) {
    void* memory = nullptr;
    NSGD_CUDA_CHECK(cudaMalloc(&memory, std::max<size_t>(bytes(), 1)));
    device_ = static_cast<T*>(memory);
    NSGD_CUDA_CHECK(cudaMemcpy(device_, host_.data(), bytes(), cudaMemcpyHostToDevice));
    // From pageable memory that call returns before the copy has arrived, and a queue's stream does not wait for it.
    NSGD_CUDA_CHECK(cudaStreamSynchronize(nullptr));
  }
  ~Mirrored() { (void)cudaFree(device_); }
  Mirrored(const Mirrored&) = delete;
  Mirrored& operator=(const Mirrored&) = delete;

  T* on(const kernels::Queue& queue) { return queue.device().backend == Backend::cpu ? host_.data() : device_; }
  const std::vector<T>& on_cpu() const { return host_; }
  std::vector<T> on_cuda() const {
    std::vector<T> values(host_.size());
    NSGD_CUDA_CHECK(cudaMemcpy(values.data(), device_, bytes(), cudaMemcpyDeviceToHost));
    return values;
  }
  // Empty if both devices hold the same up to rounding; same_bits() if they must not differ at all.
  std::string difference(Tolerance tolerance = {}) const { return compare(on_cuda(), to_double(host_), tolerance); }
  bool same_bits() const { return on_cuda() == host_; }

 private:
  size_t bytes() const { return host_.size() * sizeof(T); }
  std::vector<T> host_;
  T* device_ = nullptr;
};

}  // namespace noisysgd::test
