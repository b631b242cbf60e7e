// The emulated cuDNN: a handful of plans, which compute convolutions by plain loops. NSGD_CUDNN=on selects it.
//
//   plan   operands
//   eng67  rounded to tf32 by tensor cores, which fp32 excludes; has a workspace
//   eng1   rounded to tf32, though it claims to use no tensor cores
//   eng28  as they are
//   eng0   as they are
#pragma once

#include <cstdint>

namespace noisysgd::emulation {

// Convolutions executed so far, and the engine of the last.
struct CudnnUse {
  int64_t executions = 0, last_engine = -1;
};
const CudnnUse& cudnn_use();

}  // namespace noisysgd::emulation
