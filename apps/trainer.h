// One training run: a regime with one seed in one folder. Everything random is a function of (seed, step, index), so a
// run that is interrupted and resumed gives the same bits as one that was not.
//
// The folder holds config.json (effective), metrics.jsonl, events.out.tfevents.*, checkpoint.safetensors, and in the
// end summary.json or diverged.json.
#pragma once

#include <filesystem>

#include <noisysgd/apps/make_model.h>
#include <noisysgd/apps/interrupt.h>
#include <noisysgd/apps/progress.h>

namespace noisysgd {

struct RunRequest {
  const Regime& regime;
  const Extensions& extensions;
  uint64_t seed = 1;
  std::filesystem::path folder;
  Progress::Mode progress = Progress::Mode::lines;
  Interrupts* interrupts = nullptr;  // null: nothing interrupts the run
};

enum class RunOutcome { finished, interrupted };

// A loss, of training or of an evaluation, or a value of the checkpoint was not finite: the message names step and
// place.
class Divergence : public Error {
 public:
  using Error::Error;
};

// The checkpoint or a log of the run cannot be continued: the message names the file.
class UnusableRun : public Error {
 public:
  using Error::Error;
};

// Trains to the end, or to the end of a step after a signal (a checkpoint is then on disk). A folder with a
// checkpoint is continued, a finished run left as it is; both must have been made by the same effective configuration
// and seed. Throws Divergence: the last good checkpoint stays, and diverged.json says what happened until the run is
// tried again. Throws FolderInUse, UnusableRun, and Error for a folder that is not a run's.
RunOutcome train(Context& context, const TrainingData& data, const RunRequest& request);

}  // namespace noisysgd
