// The execution context that every op takes as its first argument: device, thread count, library handles and scratch
// memory. Ops on one queue run in the order in which they are issued. Threads must not share a queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include <noisysgd/kernels/device.h>
#include <noisysgd/kernels/workspace.h>

namespace noisysgd::kernels {

class OnednnState;  // engine, stream and prepared primitives of the CPU backend: kernels/onednn.h
class CudaState;    // stream and library handles of the CUDA backend: kernels/cuda/state.h

// How far the CUDA backend may round the operands of matrix products and convolutions: not at all, or to tf32 (10 bits
// of fraction) where tensor cores then compute them. half: as tf32, and trainings store values between layers in 16 bits
// (layers/model.h); ops go by the types of their arrays. All sums stay fp32.
enum class Precision { fp32, tf32, half };

inline constexpr Precision precisions[] = {Precision::fp32, Precision::tf32, Precision::half};
constexpr const char* name_of(Precision precision) {
  return precision == Precision::fp32 ? "fp32" : precision == Precision::tf32 ? "tf32" : "half";
}

class Queue {
 public:
  // threads: OpenMP threads of the CPU backend, 0 = all cores that the process may use. Throws Error for a device that
  // this build or machine does not have.
  explicit Queue(Device device = {}, int threads = 0);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  const Device& device() const { return device_; }
  int threads() const { return threads_; }
  // fp32 by default. A queue on the CPU stays at fp32, the only precision of its backend.
  Precision precision() const { return precision_; }
  void set_precision(Precision precision);

  // Allocates device memory; null if there is too little even after the reserve has been given back.
  std::shared_ptr<void> allocate(size_t bytes);
  // Sets the function that frees the memory held in reserve for reuse (core/allocator.h).
  void set_reserve(std::function<void()> give_back) { reserve_ = std::move(give_back); }
  bool give_back_reserve();  // false: no such function is set
  // Returns the status of `call`. If that is `no_memory`, gives the reserve back and returns the status of a second
  // call.
  template <class Status, class Call>
  Status with_reserve(Status no_memory, const Call& call) {
    const Status status = call();
    return status == no_memory && give_back_reserve() ? call() : status;
  }

  Workspace& workspace() { return workspace_; }  // scratch memory of ops (kernels/scratch.h)
  size_t workspace_bytes() const { return workspace_.bytes(); }
  // Whether ops are being recorded into a graph (kernels/op_graph.h).
  bool recording() const;

  OnednnState& onednn();
  CudaState& cuda() { return *cuda_; }  // only for a queue on a CUDA device
  // Returns when every op issued so far is done. Ops of the CPU backend are done when they return.
  void synchronize();
  // How often the host has waited for the device so far.
  int64_t waits() const;

 private:
  Device device_;
  int threads_;
  Precision precision_ = Precision::fp32;
  std::unique_ptr<OnednnState> onednn_;
  std::shared_ptr<CudaState> cuda_;
  std::function<void()> reserve_;
  Workspace workspace_{*this};
};

}  // namespace noisysgd::kernels
