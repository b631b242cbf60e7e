// Random tensors: element i is a function of (stream, offset+i) alone.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

// Normals by Box-Muller: words (a, b) at 2j and 2j+1 give elements 2j = r cos t and 2j+1 = r sin t, with r = sqrt(-2 ln
// u), u = (a + 1/2) 2^-32 rounded to float (|x| <= 6.77) and t = 2 pi b 2^-32. The error of each is at most 4 units in
// the last place of r. Uniforms are uniform_from_word. On the CPU all instruction sets give the same bits.
NSGD_OP(random_normal,
        void(Queue& queue, int64_t n, float mean, float standard_deviation, const RandomStream& stream, float* x));
NSGD_OP(random_uniform, void(Queue& queue, int64_t n, float low, float high, const RandomStream& stream, float* x));

}  // namespace noisysgd::kernels
