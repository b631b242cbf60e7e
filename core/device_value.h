// One struct in the memory of a context's device.
#pragma once

#include <memory>
#include <type_traits>

#include <noisysgd/core/tensor.h>

namespace noisysgd {

template <class T>
class DeviceValue {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit DeviceValue(Context& context, const T& initial = {})
      : context_(context), memory_(context.allocator.allocate(sizeof(T))) {
    write(initial);
  }

  T* place() const { return static_cast<T*>(memory_.get()); }  // device pointer, for ops
  void write(const T& value) { kernels::copy_from_host(context_.queue, sizeof(T), &value, place()); }
  T read() const {  // waits for the device
    T value;
    kernels::copy_to_host(context_.queue, sizeof(T), place(), &value);
    return value;
  }

 private:
  Context& context_;
  std::shared_ptr<void> memory_;
};

}  // namespace noisysgd
