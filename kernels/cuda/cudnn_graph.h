// A convolution as a cuDNN graph, and the plans that can execute it. Descriptors free themselves. Every failure is an
// Error with cuDNN's own message.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/cuda/cudnn_api.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cudnn {

class Descriptor {
 public:
  Descriptor(const Api& api, Kind kind);
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  RawDescriptor raw() const { return raw_; }
  void set(Attribute attribute, Type type, int64_t count, const void* values);
  template <class T>
  void set(Attribute attribute, Type type, const T& value) {
    set(attribute, type, 1, &value);
  }
  void set(Attribute attribute, std::span<const int64_t> values) {
    set(attribute, Type::int64, static_cast<int64_t>(values.size()), values.data());
  }
  void set(Attribute attribute, const Descriptor& other) { set(attribute, Type::descriptor, other.raw_); }
  void finalize();
  // Returns false if cuDNN does not support the described object. If memory runs out and a queue is given, gives its
  // reserve back and tries again.
  bool try_finalize(Queue* queue = nullptr);

  // At most `capacity` values.
  template <class T>
  std::vector<T> get(Attribute attribute, Type type, int64_t capacity) const {
    std::vector<T> values(static_cast<size_t>(capacity));
    values.resize(static_cast<size_t>(get(attribute, type, capacity, values.data())));
    return values;
  }
  int64_t get(Attribute attribute, Type type, int64_t capacity, void* values) const;  // how many there are

 private:
  void check(Status status, const std::string& what) const;  // throws OutOfMemory, or else Error

  const Api* api_;
  Kind kind_;
  RawDescriptor raw_ = nullptr;
};

// The device for which plans are made: that of a handle, or one of which only the properties are known.
struct Target {
  Handle handle = nullptr;
  Queue* queue = nullptr;  // on the handle's device
  const Descriptor* device_properties = nullptr;
};
// Properties as cuDNN serialises them (JSON), which need no device.
Descriptor device_properties(const Api& api, const std::string& json);

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
  DataType type;
};

// A plan that can execute the problem. `position` is its index among the allowed plans, in cuDNN's order of preference.
struct Plan {
  Descriptor configuration, plan;
  int position;
  int64_t engine;
  size_t workspace_bytes;
};

// Whether a plan is allowed: sums must have full precision and a fixed order, without transforms of the data (FFT,
// Winograd) and without compilation at run time. Tensor cores (tf32 for fp32 tensors) are allowed unless the precision
// is fp32.
bool is_allowed(std::span<const NumericalNote> numerics, std::span<const BehaviourNote> behaviour, Precision precision);

class Convolution {
 public:
  Convolution(const Api& api, const Problem& problem);

  // The best allowed plans, at most `most`, that the device supports with at most most_workspace bytes. Throws
  // OutOfMemory if the device has too little memory to make one.
  std::vector<Plan> plans(const Target& target, Precision precision, size_t most_workspace, int most) const;
  // Issues the operation to the handle's stream. `workspace` is 256-byte aligned, all other addresses 16-byte aligned.
  // Throws OutOfMemory if the device has too little memory for the code that cuDNN loads.
  void execute(Queue& queue, Handle handle, const Plan& plan, const void* x, const void* w, const void* y,
               void* workspace) const;

 private:
  std::vector<Descriptor> configurations(const Target& target, Descriptor& graph, HeuristicsMode mode) const;

  const Api* api_;
  Descriptor x_, w_, y_, convolution_, operation_;
};

}  // namespace noisysgd::kernels::cudnn
