// Identifies the emulated CUDA for kernels/cuda/runtime.h.
#pragma once

namespace noisysgd::kernels {
inline constexpr bool cuda_emulated = true;
}
