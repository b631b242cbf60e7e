// Evaluates a network on all images of a set. Training and noisysgd-eval share this function, so that they agree to the
// image.
#pragma once

#include <functional>

#include <noisysgd/data/loader.h>
#include <noisysgd/layers/model.h>

namespace noisysgd {

// Called for every batch, in the stored order of the images.
using SeeLogits = std::function<void(const Batch& batch, const Tensor& logits)>;

// batch: images of one forward pass. Throws Error for an invalid label. The caller decides about a loss that is not
// finite (LossSums::nonfinite).
kernels::LossSums evaluate(Model& model, const Loader& images, int64_t batch, const SeeLogits& see = {});

}  // namespace noisysgd
