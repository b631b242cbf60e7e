// Batch assembly: picks images by index, augments them and normalises each channel:
// out = (pixel/255 - mean) · inverse_std. Padding is black (pixel 0) before normalisation. Overwrites out.
// Throws Error for an index outside [0, N). On a CUDA device, where reading the indices would make the host wait, the
// image of such an index is all NaN instead.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/augment.h>
#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

struct ImageSet {
  const uint8_t* images;  // [N,H,W,C]
  int64_t count, height, width, channels;
  const float* mean;         // [C], on the [0,1] scale
  const float* inverse_std;  // [C]
};
struct Augmentation {
  AugmentOptions options = {};
  uint64_t seed = 0;
  StepNumber epoch = 0;
};
NSGD_OP(gather_augment, void(Queue& queue, const ImageSet& set, const int32_t* indices, int64_t samples,  // [M]
                             const Augmentation& augmentation, float* out));                             // [M,H,W,C]

}  // namespace noisysgd::kernels
