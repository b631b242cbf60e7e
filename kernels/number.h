// A number that an op takes by value, or from the memory of the queue's device when it runs. The second is for what
// changes from step to step, so that a recorded step can be replayed (core/step_graph.h), and for what the device
// itself has found, so that the host need not wait for it.
#pragma once

#include <cstdint>

namespace noisysgd {

// While one lives, this thread cannot ask for the host's value of numbers in device memory: a step that branches on it
// would be recorded with one branch and replay it for ever.
class HiddenNumbers {
 public:
  explicit HiddenNumbers(bool hide = true);
  ~HiddenNumbers();
  HiddenNumbers(const HiddenNumbers&) = delete;
  HiddenNumbers& operator=(const HiddenNumbers&) = delete;

  static bool active();
  [[noreturn]] static void refuse();

 private:
  bool before_;
};

template <class T>
class Number {
 public:
  // place: where the number will be when the op runs; null: it is `value`.
  constexpr Number(T value = {}, const T* place = nullptr) : value_(value), place_(place) {}
  static constexpr Number at(const T* place) { return {T{}, place}; }

  // What the host knows of it. Throws Error for a number in device memory where HiddenNumbers hides it.
  T value() const {
    if (place_ && HiddenNumbers::active()) HiddenNumbers::refuse();
    return value_;
  }
  // For kernels of either backend.
  constexpr T read() const { return place_ ? *place_ : value_; }

 private:
  T value_;
  const T* place_;
};

using StepNumber = Number<uint32_t>;

}  // namespace noisysgd
