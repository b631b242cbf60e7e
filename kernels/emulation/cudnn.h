// The emulated cuDNN: descriptors with the library's rules, a handful of engines, and convolutions as plain loops over
// the tensors' strides. NSGD_CUDNN=on selects it.
//
//   engine  numerical note             in the heuristics' list
//   11      sums in a changing order   first
//   5       tensor cores               second; its plans are not supported
//   67      tensor cores, workspace    third
//   1       none, rounds to tf32       fourth
//   28      none                       fifth
//   70      Winograd                   first of the fallback list
//   0       none                       second of the fallback list
#pragma once

#include <cstdint>

namespace noisysgd::emulation {

// Convolutions executed so far, and the engine of the last.
struct CudnnUse {
  int64_t executions = 0, last_engine = -1;
};
const CudnnUse& cudnn_use();

}  // namespace noisysgd::emulation
