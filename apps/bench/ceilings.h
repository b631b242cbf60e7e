// What the machine can do at best: arithmetic, memory, and the library's matrix product.
#pragma once

#include "apps/bench/section.h"

namespace noisysgd::bench {

// For one thread and for `threads`: FMA peak, copy bandwidth (bytes read plus bytes written) and sgemm.
Section measure_ceilings(int threads, int rounds);

}  // namespace noisysgd::bench
