// Builds the model of a regime and the options of its steps, and makes the checks that precede a run.
#pragma once

#include <noisysgd/apps/experiment.h>
#include <noisysgd/apps/training_data.h>
#include <noisysgd/optim/step.h>

namespace noisysgd {

// The step options of a regime.
StepOptions step_options(const Regime& regime, uint64_t seed);

// The learning rate of a step of a run. schedule: of the regime.
double learning_rate_of(const Regime& regime, const BatchSchedule& schedule, int64_t step);

// Builds the network and the loss of a regime and checks them against its data. Used by train, describe and inspect.
// Throws Error that names the regime's place.
Model make_model(Context& context, const Regime& regime, const TrainingData& data, const Extensions& extensions);

// Like make_model. Also builds the schedule, the noise and the logged groups of a run, and checks that its noise and
// its log can handle every batch size of the run. Throws as make_model.
Model make_checked_model(Context& context, const Regime& regime, const TrainingData& data,
                         const Extensions& extensions);

// The notes that a run prints when it begins: images that are left out, noise that no step draws.
std::vector<std::string> run_notes(const Regime& regime, const BatchSchedule& schedule);

}  // namespace noisysgd
