// Shared memory and launches of kernels/cuda/gpu.h for the emulation.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include <noisysgd/kernels/emulation/scheduler.h>
#include <noisysgd/kernels/emulation/stream.h>

// The address of the static variable identifies this declaration.
#define GPU_SHARED(type, name, ...)                                                      \
  static char name##_key;                                                                \
  using name##_type = type __VA_ARGS__;                                                  \
  name##_type& name = *static_cast<name##_type*>(::noisysgd::emulation::shared_variable( \
      &name##_key, sizeof(name##_type), alignof(name##_type) > 32 ? alignof(name##_type) : 32))
#define GPU_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::noisysgd::emulation::dynamic_shared())

namespace noisysgd::gpu {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  if (const cudaError_t error = emulation::check_launch(grid, block, shared_bytes)) return error;
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::decay_t<Parameters>...> arguments;
  } call{kernel, {std::forward<Arguments>(arguments)...}};
  return emulation::submit(stream, [=]() mutable {
    const void* address = reinterpret_cast<const void*>(kernel);
    std::apply(
        [&](const auto&... values) {
          const auto check = [&](const auto& value) {
            if constexpr (std::is_pointer_v<std::decay_t<decltype(value)>>)
              emulation::check_kernel_argument(value, address);
          };
          (check(values), ...);
        },
        call.arguments);
    emulation::run_grid(
        grid, block, shared_bytes,
        [](void* one_thread) {
          const auto* c = static_cast<const Call*>(one_thread);
          std::apply(c->kernel, c->arguments);  // by value, as on the GPU
        },
        &call, address);
  });
}

}  // namespace noisysgd::gpu
