// cuDNN as the project uses it: the library, its handle, and a convolution with the plans that can execute it. A build
// has one implementation: cudnn_frontend.cpp by NVIDIA's cudnn-frontend, cudnn_absent.cpp without it, or
// kernels/emulation/cudnn.cpp. All functions throw OutOfMemory if the device has too little memory, and Error with
// cuDNN's own message for other failures.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/cuda/runtime.h>
#include <noisysgd/kernels/queue.h>
#include <noisysgd/kernels/values.h>

struct cudnnContext;  // as cuDNN declares it

namespace noisysgd::kernels::cudnn {

// Whether a run uses cuDNN: the file that the environment variable NSGD_CUDNN names, or libcudnn.so.9 if that is "on"
// or not set, but nothing if it is "off". The emulated cuDNN is used only for "on". If not, why_not is the reason.
// Throws Error if the variable requests a library that cannot be used.
bool find_library(std::string& why_not);
// The same for a value of the variable other than "off", without the error. The library stays loaded. The loader
// searches for a name without a slash. A process uses one file.
bool open_library(const std::string& wanted, std::string& why_not);
// For the functions below, a library has been opened.
size_t version();            // 91900
std::string version_text();  // "cuDNN 9.19.0"

using Handle = std::shared_ptr<cudnnContext>;
Handle make_handle(cudaStream_t stream);

// Returns what `call` returns. If it throws OutOfMemory, gives the queue's reserve back and calls it again.
template <class Call>
auto with_reserve(Queue& queue, const Call& call) {
  try {
    return call();
  } catch (const OutOfMemory&) {
    if (!queue.give_back_reserve()) throw;
  }
  return call();
}

enum class Operation { forward, backward_data, backward_filter };
constexpr const char* name_of(Operation operation) {
  return operation == Operation::forward         ? "forward"
         : operation == Operation::backward_data ? "backward-data"
                                                 : "backward-weight";
}

constexpr size_t result_of(Operation operation) {  // among x, w, y
  return operation == Operation::forward ? 2 : operation == Operation::backward_data ? 0 : 1;
}
inline std::array<int64_t, 3> tensor_sizes(const ConvShape& s) {  // elements of x, w, y
  return {s.batch * s.height * s.width * s.in_channels, s.weights(), s.batch * s.positions() * s.out_channels};
}

// Tensors of type `type` in our layouts, sums in fp32: y = x * w, or grad_x from (w, grad_y), or grad_w from
// (x, grad_y). The result is overwritten.
struct Problem {
  Operation operation;
  ConvShape shape;
  DType type;
};

// Which plans are wanted. Their sums have full precision and a fixed order, without transforms of the data (FFT,
// Winograd) and without compilation at run time. Tensor cores (tf32 for fp32 tensors) are allowed unless the precision
// is fp32.
struct PlanLimits {
  Precision precision;
  size_t workspace_bytes;  // of a plan, at most
  int count;               // of plans, at most
};

struct Plan {
  int64_t index;     // among all plans of the convolution, in cuDNN's order of preference
  std::string name;  // the engine and its settings: the same in every process that uses this version of cuDNN
  size_t workspace_bytes;
};

class Convolution {
 public:
  Convolution(const Handle& handle, const Problem& problem, const PlanLimits& limits);
  // For a device of which only the properties are known, as cuDNN serialises them (JSON); it cannot be executed.
  Convolution(const std::string& device_properties, const Problem& problem, const PlanLimits& limits);
  ~Convolution();

  // The best plans within the limits that the device supports, in cuDNN's order of preference.
  const std::vector<Plan>& plans() const { return plans_; }
  // Issues the operation to the handle's stream. `workspace` is 256-byte aligned, all other addresses 16-byte aligned.
  void execute(const Plan& plan, const void* x, const void* w, const void* y, void* workspace) const;

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
  std::vector<Plan> plans_;
};

}  // namespace noisysgd::kernels::cudnn
