// Trains finished runs on: gives the runs in a folder more epochs, where a run that had had them from its beginning
// would have made the same steps so far.
#pragma once

#include <filesystem>

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

// The experiment with this number of epochs in every regime. Noise that ends before the end of a run ends at the same
// step. Throws Error for fewer epochs than there are, and for an experiment that a budget shortens.
Experiment with_epochs(const Experiment& experiment, int64_t epochs, const Extensions& extensions);

// What an earlier --epochs has made of `given` in the folder, and `given` if that is anything else. So a configuration
// can be trained on again and again.
Experiment trained_on_so_far(const Experiment& given, int64_t epochs, const Extensions& extensions,
                             const std::filesystem::path& folder);

// Makes the runs that `before` has in the folder runs of `after`, which differs in its epochs only, so that they can be
// resumed. Writes nothing if the folder holds a run of neither; train_all then says how it differs. Throws Error, and
// writes nothing, if a past step of a run would have had another learning rate, batch or noise, and if another program
// is at work. A call that was interrupted can be repeated.
void extend_runs(Context& context, const Experiment& before, const Experiment& after, const Extensions& extensions,
                 const std::filesystem::path& folder);

}  // namespace noisysgd
