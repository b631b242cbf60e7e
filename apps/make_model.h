// From a regime and its data to a model and the options of its steps, with the checks that a run makes before it begins.
#pragma once

#include <noisysgd/apps/experiment.h>
#include <noisysgd/apps/training_data.h>
#include <noisysgd/optim/step.h>

namespace noisysgd {

// What a regime says of its steps.
StepOptions step_options(const Regime& regime, uint64_t seed);

// Network, loss and checks of a regime against its data: what train, describe and inspect have in common. Throws Error
// that names the regime's place.
Model make_model(Context& context, const Regime& regime, const TrainingData& data, const Extensions& extensions);

// The same, once the schedule, the noise and the logged groups of a run have been put together too, and every size of
// batch that it will meet is one that its noise and its log can take. Throws as make_model.
Model make_checked_model(Context& context, const Regime& regime, const TrainingData& data,
                         const Extensions& extensions);

// What a run says of its steps when it begins: images that are left out, noise that no step draws.
std::vector<std::string> run_notes(const Regime& regime, const BatchSchedule& schedule);

}  // namespace noisysgd
