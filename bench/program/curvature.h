// Time and memory of products with curvature matrices, compared with a gradient of the same model. Its batch
// normalisations are folded.
#pragma once

#include <string>

#include <noisysgd/bench/program/steps.h>

namespace noisysgd::bench {

// options.variants is not used.
Section measure_curvature(const std::string& network, const StepOptions& options);

}  // namespace noisysgd::bench
