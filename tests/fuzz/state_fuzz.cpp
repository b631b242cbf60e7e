// The training state of a checkpoint: an accepted state is within the run, and is written as it was read.
#include <cstdlib>

#include <noisysgd/apps/training_state.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  // Ten epochs of four steps of 16 samples; a line of the log every five steps.
  static const StateLimits limits{40, [](int64_t step) {
                                    return Counts{step / 4, step % 4 * 16, step % 5 * 16, step < 4 ? 0 : 4 * 16};
                                  }};
  return fuzz::result_or_error([&] {
    const TrainingState state = TrainingState::from(parse_json(fuzz::text_of(data, size), "state"), limits);
    const bool within = state.step >= 0 && state.step <= limits.steps && state.best_epoch <= 10;
    const bool bare_name = state.events_file.find('/') == std::string::npos && state.events_file != "..";
    if (!within || !bare_name) std::abort();
    TrainingState::from(state.json(), limits);
  });
}
