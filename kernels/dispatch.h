// An op is declared once and implemented per backend:
//
//   NSGD_OP(relu_forward, void(Queue& queue, int64_t n, const float* x, float* y));
//
// declares cpu::relu_forward (defined in a .cpp) and cuda::relu_forward (defined in a .cu) with that signature, and the
// callable relu_forward(queue, …), which calls the one for queue.device(). Values (values.h) may be passed for float*;
// if their elements are not fp32, the call throws an error that names the op.
//
//   NSGD_TYPED_OP(relu_forward, void(Queue& queue, int64_t n, ConstValues x, Values y));
//
// declares an op whose CUDA implementation dispatches on the types of Values. The CPU stores fp32 alone: its
// implementation takes float* in their place. This is the only file that knows which backends are built.
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

// The CPU's parameter for one of a typed op.
template <class Parameter>
struct OnCpu {
  using Type = Parameter;
};
template <>
struct OnCpu<Values> {
  using Type = float*;
};
template <>
struct OnCpu<ConstValues> {
  using Type = const float*;
};
template <class Signature>
struct CpuSignature;
template <class Result, class... Parameters>
struct CpuSignature<Result(Parameters...)> {
  using Type = Result(typename OnCpu<Parameters>::Type...);
};

template <auto Cpu, auto Cuda, class Signature = decltype(Cpu)>
struct Op;

template <auto Cpu, auto Cuda, class Result, class... Parameters>
struct Op<Cpu, Cuda, Result (*)(Queue&, Parameters...)> {
  const char* name;

  Result operator()(Queue& queue, typename Accepted<Parameters>::Type... arguments) const {
    if constexpr (built_with_cuda) {
      if (queue.device().backend == Backend::cuda) return call(Cuda, queue, arguments...);
    }
    NSGD_CHECK(queue.device().backend == Backend::cpu, "this build has no CUDA backend (device {})",
               queue.device().name());
    return call(Cpu, queue, arguments...);
  }

 private:
  template <class... Own, class... Arguments>
  Result call(Result (*op)(Queue&, Own...), Queue& queue, Arguments&... arguments) const {
    return op(queue, pass<Own>(arguments)...);
  }
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

#define NSGD_TYPED_OP(name, ...)                              \
  namespace cpu {                                             \
  std::type_identity_t<CpuSignature<__VA_ARGS__>::Type> name; \
  }                                                           \
  namespace cuda {                                            \
  std::type_identity_t<__VA_ARGS__> name;                     \
  }                                                           \
  inline constexpr Op<&cpu::name, NSGD_CUDA_FUNCTION(name)> name { #name }
