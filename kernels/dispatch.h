// An op is declared once and implemented per backend:
//
//   NSGD_OP(relu_forward, void(Queue& queue, int64_t n, const float* x, float* y));
//
// declares cpu::relu_forward (defined in a .cpp) and cuda::relu_forward (defined in a .cu) with that signature, and the
// callable relu_forward(queue, …), which picks by queue.device(). Values (values.h) may be passed for float*: where their
// elements are not fp32, this throws an error that names the op. This is the only file that knows which backends are built.
#pragma once

#include <type_traits>
#include <utility>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/queue.h>
#include <noisysgd/kernels/values.h>

namespace noisysgd::kernels {

#ifdef NSGD_WITH_CUDA
inline constexpr bool built_with_cuda = true;
#define NSGD_CUDA_FUNCTION(name) &cuda::name
#else
inline constexpr bool built_with_cuda = false;
#define NSGD_CUDA_FUNCTION(name) nullptr
#endif

// Values on their way to a parameter of an op: as they are, or fp32.
template <class Void>
struct ValuesArgument {
  operator TypedAddress<Void>() const { return values; }
  operator typename TypedAddress<Void>::Float*() const { return values.f32(op); }
  operator ConstValues() const
    requires(!std::is_const_v<Void>)
  {
    return values;
  }

  TypedAddress<Void> values;
  const char* op;
};

template <auto Cpu, auto Cuda>
struct Op {
  const char* name;

  template <class... Arguments>
  auto operator()(Queue& queue, Arguments&&... arguments) const {
    if constexpr (built_with_cuda) {
      if (queue.device().backend == Backend::cuda) return Cuda(queue, pass(std::forward<Arguments>(arguments))...);
    }
    NSGD_CHECK(queue.device().backend == Backend::cpu, "this build has no CUDA backend (device {})",
               queue.device().name());
    return Cpu(queue, pass(std::forward<Arguments>(arguments))...);
  }

 private:
  template <class Argument>
  constexpr Argument&& pass(Argument&& argument) const {
    return std::forward<Argument>(argument);
  }
  template <class Void>
  constexpr ValuesArgument<Void> pass(TypedAddress<Void> values) const {
    return {values, name};
  }
};

}  // namespace noisysgd::kernels

#define NSGD_OP(name, ...)                \
  namespace cpu {                         \
  std::type_identity_t<__VA_ARGS__> name; \
  }                                       \
  namespace cuda {                        \
  std::type_identity_t<__VA_ARGS__> name; \
  }                                       \
  inline constexpr Op<&cpu::name, NSGD_CUDA_FUNCTION(name)> name { #name }
