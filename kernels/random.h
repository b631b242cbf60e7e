// Random tensors: element i is a function of (stream, offset+i) alone.
#pragma once

#include <cstdint>

#include "kernels/dispatch.h"
#include "kernels/philox.h"

namespace noisysgd::kernels {

// Normals by Box-Muller: words (4b, 4b+1) give elements 4b and 4b+1, words (4b+2, 4b+3) the next two.
NSGD_OP(random_normal,
        void(Queue& queue, int64_t n, float mean, float standard_deviation, const RandomStream& stream, float* x));
NSGD_OP(random_uniform, void(Queue& queue, int64_t n, float low, float high, const RandomStream& stream, float* x));

}  // namespace noisysgd::kernels
