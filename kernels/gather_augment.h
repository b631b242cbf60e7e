// Batch assembly: picks images by index, augments them and normalises each channel, out = (pixel/255 - mean) ·
// inverse_std. Padding is black (pixel 0) before normalisation. Overwrites out. An index outside [0,
// N) throws Error; on a CUDA device, where reading the indices would stop the queue, its image is all NaN instead.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/augment.h>
#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

NSGD_OP(gather_augment, void(Queue& queue,
                             const uint8_t* images,   // [N,H,W,C]
                             const int32_t* indices,  // [M]
                             int64_t N, int64_t M, int64_t H, int64_t W, int64_t C,
                             const float* mean,         // [C], on the [0,1] scale
                             const float* inverse_std,  // [C]
                             const AugmentOptions& options, uint64_t seed, StepNumber epoch,
                             float* out));  // [M,H,W,C]

}  // namespace noisysgd::kernels
