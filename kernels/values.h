// Typed device pointers: array arguments whose elements may have more than one type, such as activations and their
// gradients. An op that is implemented for several types takes Values and dispatches on `type`. An op for fp32 alone
// takes float*; calling it with Values of another type throws an error that names the op (dispatch.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

enum class DType : uint8_t { f32, i32, u8, f64, f16, bf16 };

// A float of 16 bits (half.h).
constexpr bool is_half(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }
// The type of the gradients of values of this type. Those of fp16 keep the range of fp32.
constexpr DType gradient_type(DType dtype) { return dtype == DType::f16 ? DType::bf16 : dtype; }
constexpr size_t size_of(DType dtype) {
  return dtype == DType::u8 ? 1 : is_half(dtype) ? 2 : dtype == DType::f64 ? 8 : 4;
}
constexpr const char* name_of(DType dtype) {
  constexpr const char* names[] = {"f32", "i32", "u8", "f64", "f16", "bf16"};
  return names[static_cast<size_t>(dtype)];
}

}  // namespace noisysgd

namespace noisysgd::kernels {

// The address of the elements on the queue's device and their type. Null: no array.
template <class Void>  // void or const void
struct TypedAddress {
  using Float = std::conditional_t<std::is_const_v<Void>, const float, float>;

  constexpr TypedAddress() = default;
  constexpr TypedAddress(std::nullptr_t) {}
  constexpr TypedAddress(Float* array) : address(array) {}
  constexpr TypedAddress(Void* array, DType stored) : address(array), type(stored) {}
  template <class Other>
  requires(std::is_const_v<Void>&& std::is_same_v<Other, void>) constexpr TypedAddress(TypedAddress<Other> values)
      : address(values.address), type(values.type) {}

  constexpr explicit operator bool() const { return address != nullptr; }
  // The address, for an op that supports fp32 alone. Throws Error with the op's name for elements of another type.
  Float* f32(const char* op) const {
    NSGD_CHECK(type == DType::f32, "{} takes arrays of f32, not of {}", op, name_of(type));
    return static_cast<Float*>(address);
  }

  Void* address = nullptr;
  DType type = DType::f32;
};

using Values = TypedAddress<void>;
using ConstValues = TypedAddress<const void>;

}  // namespace noisysgd::kernels
