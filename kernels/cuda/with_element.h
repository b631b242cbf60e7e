// From the types of an op's arrays, known when it is called, to an instance of its kernel.
#pragma once

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/half.h>
#include <noisysgd/kernels/values.h>

namespace noisysgd::kernels::cuda {

template <class T>
inline constexpr DType stored_as = DType::f32;
template <>
inline constexpr DType stored_as<Half> = DType::f16;
template <>
inline constexpr DType stored_as<BFloat16> = DType::bf16;

// Calls body(T()) with the element type T of an array: float, Half or BFloat16.
template <class Body>
void with_element(const char* op, DType type, const Body& body) {
  if (type == DType::f16) return body(Half());
  if (type == DType::bf16) return body(BFloat16());
  NSGD_CHECK(type == DType::f32, "{} has no kernel for arrays of {}", op, name_of(type));
  body(float());
}

// Values between layers and the gradients of these: both of fp32, or of fp16 and bf16.
template <class Value_, class Gradient_>
struct StoredTypes {
  using Value = Value_;
  using Gradient = Gradient_;
};
using StoredFloats = StoredTypes<float, float>;
using StoredHalves = StoredTypes<Half, BFloat16>;

// Calls body(StoredFloats()) or body(StoredHalves()) by the type of an array of values or one of gradients.
template <class Body>
void with_stored_types(const char* op, DType type, const Body& body) {
  if (is_half(type)) return body(StoredHalves());
  NSGD_CHECK(type == DType::f32, "{} has no kernel for arrays of {}", op, name_of(type));
  body(StoredFloats());
}

// The address of an array of T, or null. Throws Error for an array of another type.
template <class T, class Void>
auto array_of(const char* op, const TypedAddress<Void>& values) {
  using Element = std::conditional_t<std::is_const_v<Void>, const T, T>;
  NSGD_CHECK(!values || values.type == stored_as<T>, "{}: an array of {} where one of {} is expected", op,
             name_of(values.type), name_of(stored_as<T>));
  return static_cast<Element*>(values.address);
}

}  // namespace noisysgd::kernels::cuda
