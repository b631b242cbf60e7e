// The part of CUDA's header of this name that device code uses.
#pragma once

#include <cuda_runtime_api.h>

#include <noisysgd/kernels/emulation/collectives.h>
#include <noisysgd/kernels/emulation/intrinsics.h>
