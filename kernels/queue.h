// The explicit execution context every op takes first: device, thread count, library handles and scratch memory.
// Ops on one queue run in the order they are issued. A queue is not shared between threads.
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

// What the CUDA backend's matrix products and convolutions may do with their operands: nothing, or round them to tf32
// (10 bits of fraction) or bf16 (7 bits) where tensor cores then do the work. What is stored stays fp32, and so do all
// sums.
enum class Precision { fp32, tf32, bf16 };

inline constexpr Precision precisions[] = {Precision::fp32, Precision::tf32, Precision::bf16};
constexpr const char* name_of(Precision precision) {
  return precision == Precision::fp32 ? "fp32" : precision == Precision::tf32 ? "tf32" : "bf16";
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
  // fp32 unless set. A queue on the CPU stays at fp32: its backend knows no other.
  Precision precision() const { return precision_; }
  void set_precision(Precision precision);

  // Memory of its own on the device; null if it does not suffice, even after what is held in reserve was given back.
  std::shared_ptr<void> allocate(size_t bytes);
  // How to give back what is held in reserve for later use (core/allocator.h).
  void set_reserve(std::function<void()> give_back) { reserve_ = std::move(give_back); }
  bool give_back_reserve();  // false: there is none
  // The status of `call`; where it is `no_memory`, of a second call, when the reserve has been given back.
  template <class Status, class Call>
  Status with_reserve(Status no_memory, const Call& call) {
    const Status status = call();
    return status == no_memory && give_back_reserve() ? call() : status;
  }

  Workspace& workspace() { return workspace_; }  // that ops take scratch memory from (kernels/scratch.h)
  size_t workspace_bytes() const { return workspace_.bytes(); }
  // Whether ops are being recorded into a graph (kernels/op_graph.h).
  bool recording() const;

  OnednnState& onednn();
  CudaState& cuda() { return *cuda_; }  // of a queue on a CUDA device
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
