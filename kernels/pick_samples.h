// Selects the samples of a data set that make up a batch, and their labels.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/number.h>

namespace noisysgd::kernels {

struct SampleOrder {
  int64_t count = 0;      // images of the data set
  bool shuffled = false;  // true: permuted by kernels/shuffle.h with (seed, epoch); false: as stored
  uint64_t seed = 0;
  StepNumber epoch = 0;
  Number<int64_t> first = 0;  // position of the batch in that order
  int64_t offset = 0;         // of this micro-batch within the batch
};

// indices[m] = the image at position first + offset + m of the order, labels[m] = its entry in all_labels. Positions
// past the end give index -1 and label -1.
NSGD_OP(pick_samples, void(Queue& queue, const SampleOrder& order, int64_t samples,
                           const int32_t* all_labels,  // [count]
                           int32_t* indices,           // [M]
                           int32_t* labels));          // [M]

}  // namespace noisysgd::kernels
