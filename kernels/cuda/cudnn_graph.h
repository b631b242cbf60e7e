// A convolution as cuDNN sees it, and the plans that can execute it. Descriptors free themselves; every failure is an
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
  // False: what it describes is not supported. With a queue, its reserve is given back where memory lacks.
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

// For which device plans are made: that of a handle, or one of which only the properties are known.
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
// (x, grad_y); the result overwrites.
struct Problem {
  Operation operation;
  ConvShape shape;
  DataType type;
};

// One way of doing it. `position` counts the ways that are allowed, in cuDNN's order of preference.
struct Plan {
  Descriptor configuration, plan;
  int position;
  int64_t engine;
  size_t workspace_bytes;
};

// Which ways are allowed: sums of full precision in an order that does not change, no transforms of the data (FFT,
// Winograd), nothing compiled at run time; and tensor cores (tf32 for fp32 tensors) where precision is not fp32.
bool is_allowed(std::span<const NumericalNote> numerics, std::span<const BehaviourNote> behaviour, Precision precision);

class Convolution {
 public:
  Convolution(const Api& api, const Problem& problem);

  // The best allowed plans, at most `most`, that the device supports with at most so much workspace. OutOfMemory if the
  // device has no room for making one.
  std::vector<Plan> plans(const Target& target, Precision precision, size_t most_workspace, int most) const;
  // Puts the operation on the handle's stream; `workspace` is 256-byte aligned, all addresses 16-byte aligned.
  // OutOfMemory if the device has no room for what cuDNN loads.
  void execute(Queue& queue, Handle handle, const Plan& plan, const void* x, const void* w, const void* y,
               void* workspace) const;

 private:
  std::vector<Descriptor> configurations(const Target& target, Descriptor& graph, HeuristicsMode mode) const;

  const Api* api_;
  Descriptor x_, w_, y_, convolution_, operation_;
};

}  // namespace noisysgd::kernels::cudnn
