// The values that training starts from: those that init and the seed give, or the ones of a file (model.weights).
#pragma once

#include <string>

#include <noisysgd/apps/experiment.h>
#include <noisysgd/layers/model.h>

namespace noisysgd {

// What of a file was loaded into a network, as one line for messages; empty: there was no file.
using WeightsNote = std::string;

// Draws the parameters from the seed. Then overwrites parameters and running statistics with the tensors of
// model.weights that have their names, in PyTorch's layouts. Throws Error, with the place of the regime, for a file that
// cannot be read, that has none of the names, or in which a tensor has another shape, another type than float or
// double, or values that are not finite.
WeightsNote set_initial_values(Model& model, const Regime& regime, uint64_t seed);

// Finds the problems of a regime's model.weights, for runs that have not begun. Does nothing without a file.
void check_initial_values(Model& model, const Regime& regime);

}  // namespace noisysgd
