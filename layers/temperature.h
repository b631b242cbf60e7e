// The temperature of a model (Guo et al. 2017): the scores divided by it give the labels of a data set the largest
// likelihood. It is 1 / beta for the beta that minimises sum_n l_n(beta z_n), z_n the scores of sample n in inference.
#pragma once

#include <functional>

#include <noisysgd/layers/model.h>

namespace noisysgd {

// Calls visit with every batch of a data set, each once. Batches may differ in size.
using AllBatches = std::function<void(const std::function<void(const Batch&)>& visit)>;

// beta, by Newton's method within a bracket: softmax cross-entropy is convex in it. The scores are computed once.
// Throws Error for a loss that does not tell its second derivatives, and where no beta between 1e-4 and 1e4 is the
// best.
double fit_inverse_temperature(Model& model, const AllBatches& batches, Targets targets = Targets::label);

}  // namespace noisysgd
