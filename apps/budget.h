// Shortens the whole training protocol to a fraction of its epochs, for a trial run.
#pragma once

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

// The epochs of a regime at a budget: a whole number, at least 1.
int64_t epochs_at(int64_t epochs, double budget);

// Scales the epochs of a regime, the values of its schedule that count epochs, and its batch changes by the same
// factor, in its options and in its effective configuration. A batch change with no epochs left is dropped.
void apply_budget(Regime& regime, double budget, const Extensions& extensions);

}  // namespace noisysgd
