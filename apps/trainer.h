// One training run: a regime with one seed in one folder. Everything random is a function of (seed, step, index), so a
// run that is interrupted and resumed gives the same bits as one that was not.
//
// The folder holds config.json (effective), metrics.jsonl, events.out.tfevents.*, checkpoint.safetensors, the other
// checkpoints that it was asked to keep, and at the end summary.json or diverged.json.
#pragma once

#include <filesystem>

#include <noisysgd/apps/interrupt.h>
#include <noisysgd/apps/make_model.h>
#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/work_left.h>

namespace noisysgd {

struct RunRequest {
  const Regime& regime;
  const Extensions& extensions;
  uint64_t seed = 1;
  std::filesystem::path folder;
  Progress::Mode progress = Progress::Mode::lines;
  Interrupts* interrupts = nullptr;  // null: nothing interrupts the run
  WorkLeft* work = nullptr;          // what follows the run, for the time left; null: nothing
};

enum class RunOutcome { finished, interrupted };

// A training or evaluation loss, or a value for the checkpoint, was not finite. The message names the step and what was
// not finite.
class Divergence : public Error {
 public:
  using Error::Error;
};

// The checkpoint or a log of the run cannot be continued: the message names the file.
class UnusableRun : public Error {
 public:
  using Error::Error;
};

// Trains to the end. After a signal, trains to the end of the step and writes a checkpoint. Continues from a checkpoint
// if the folder has one, and leaves a finished run as it is; both must have been made with the same effective
// configuration and seed. Throws Divergence: the last good checkpoint stays, and diverged.json says what happened until
// the run is tried again. Throws FolderInUse, UnusableRun, and Error for a folder that does not belong to a run.
RunOutcome train(Context& context, const TrainingData& data, const RunRequest& request);

}  // namespace noisysgd
