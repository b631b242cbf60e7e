// An op is declared once and implemented per backend:
//
//   NSGD_OP(relu_forward, void(Queue& queue, int64_t n, const float* x, float* y));
//
// declares cpu::relu_forward (defined in a .cpp) and cuda::relu_forward (defined in a .cu) with that signature, and the
// callable relu_forward(queue, …), which calls the one for queue.device(). Values (values.h) may be passed for float*;
// if their elements are not fp32, the call throws an error that names the op. This is the only file that knows which
// backends are built.
#pragma once

#include <type_traits>

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

// The type of the op's argument for a parameter type of its backends.
template <class Parameter>
struct Accepted {
  using Type = Parameter;
};
template <>
struct Accepted<float*> {
  using Type = Values;
};
template <>
struct Accepted<const float*> {
  using Type = ConstValues;
};

template <auto Cpu, auto Cuda, class Signature = decltype(Cpu)>
struct Op;

template <auto Cpu, auto Cuda, class Result, class... Parameters>
struct Op<Cpu, Cuda, Result (*)(Queue&, Parameters...)> {
  const char* name;

  Result operator()(Queue& queue, typename Accepted<Parameters>::Type... arguments) const {
    if constexpr (built_with_cuda) {
      if (queue.device().backend == Backend::cuda) return Cuda(queue, pass<Parameters>(arguments)...);
    }
    NSGD_CHECK(queue.device().backend == Backend::cpu, "this build has no CUDA backend (device {})",
               queue.device().name());
    return Cpu(queue, pass<Parameters>(arguments)...);
  }

 private:
  template <class Parameter>
  Parameter pass(typename Accepted<Parameter>::Type& argument) const {
    if constexpr (std::is_same_v<Parameter, typename Accepted<Parameter>::Type>)
      return static_cast<Parameter&&>(argument);
    else
      return argument.f32(name);
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
