// A trial run: the whole training protocol squeezed into a fraction of its epochs.
#pragma once

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

// Scales epochs (to a whole number, at least one), what the schedule counts in epochs, and batch changes of a regime by
// the same factor, in its options and in its effective configuration. A batch change that is left with no epoch is
// dropped.
void apply_budget(Regime& regime, double budget, const Extensions& extensions);

}  // namespace noisysgd
