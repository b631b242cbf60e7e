// A number that an op takes by value, or reads from the memory of the queue's device when it runs. Device memory is for
// values that change from step to step, so that a recorded step can be replayed (core/step_graph.h), and for results of
// the device itself, so that the host need not wait for them.
#pragma once

#include <cstdint>

namespace noisysgd {

// In the scope of such an object, Number::value() throws in this thread for numbers in device memory: a step that
// branched on the value would be recorded with one of the branches, and every replay would take that one. With
// hide = false, values can be read again in the scope.
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
  // address: where the number is when the op runs; null: the number is `value`.
  constexpr Number(T value = {}, const T* address = nullptr) : value_(value), address_(address) {}
  static constexpr Number at(const T* address) { return {T{}, address}; }

  // The value that the host has. Throws Error for a number in device memory while HiddenNumbers is active.
  T value() const {
    if (address_ && HiddenNumbers::active()) HiddenNumbers::refuse();
    return value_;
  }
  // The number itself, for kernels of either backend.
  constexpr T read() const { return address_ ? *address_ : value_; }

 private:
  T value_;
  const T* address_;
};

using StepNumber = Number<uint32_t>;

}  // namespace noisysgd
