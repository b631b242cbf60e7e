// Everything that a .cu file finds in place of CUDA when the host compiler compiles it; included through
// kernels/cuda/gpu.h only.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/emulation/collectives.h"
#include "tests/emulation/intrinsics.h"
#include "tests/emulation/matrix_multiply.h"
#include "tests/emulation/runtime_api.h"
#include "tests/emulation/scheduler.h"
#include "tests/emulation/stream.h"

namespace noisysgd::emulation {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  if (const cudaError_t error = check_launch(grid, block, shared_bytes)) return error;
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::decay_t<Parameters>...> arguments;
  } call{kernel, {std::forward<Arguments>(arguments)...}};
  return submit(stream, [=]() mutable {
    const void* address = reinterpret_cast<const void*>(kernel);
    std::apply(
        [&](const auto&... values) {
          const auto check = [&](const auto& value) {
            if constexpr (std::is_pointer_v<std::decay_t<decltype(value)>>) check_kernel_argument(value, address);
          };
          (check(values), ...);
        },
        call.arguments);
    run_grid(
        grid, block, shared_bytes,
        [](void* one_thread) {
          const auto* c = static_cast<const Call*>(one_thread);
          std::apply(c->kernel, c->arguments);  // by value, as on the GPU
        },
        &call, address);
  });
}

}  // namespace noisysgd::emulation
