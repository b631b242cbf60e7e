// What device code finds in CUDA's header of this name.
#pragma once

#include <cuda_runtime_api.h>

#include <noisysgd/kernels/emulation/collectives.h>
#include <noisysgd/kernels/emulation/intrinsics.h>
