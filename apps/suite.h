// Trains all regimes and seeds of an experiment, each run in a folder of its own, and compares them in a table.
#pragma once

#include <filesystem>

#include <noisysgd/apps/result_table.h>
#include <noisysgd/apps/selection.h>
#include <noisysgd/apps/trainer.h>

namespace noisysgd {

struct SuiteRequest {
  const Experiment& experiment;
  const Extensions& extensions;
  std::filesystem::path folder;
  Progress::Mode progress = Progress::Mode::lines;
  Selection only = {};  // runs to train; the table has all finished ones
  Interrupts* interrupts = nullptr;
  WorkLeft* work = nullptr;  // what follows the suite, for the time left; null: nothing
  // The runs are trials: one that diverges is a result, so it is neither an error nor tried again. Runs that other
  // programs are making are no error either.
  bool trials = false;
};

// The folder of each run is OUTPUT/REGIME/seed-S. Exceptions: a run that OUTPUT itself already holds stays there, and
// the only run of an experiment starts in OUTPUT unless its own folder holds it already.
std::vector<SuiteRun> suite_runs(const Experiment& experiment, const std::filesystem::path& folder);

// True if the folder holds a run of the experiment, and nothing that keeps train_all from continuing it there.
bool can_be_continued(const Experiment& experiment, const Extensions& extensions, const std::filesystem::path& folder);

// Finds problems of all runs before the first begins and before anything is written: builds data, network, schedule and
// noise of each regime once, and reads what the folder holds. Throws Error that names the regime, the folder of a run
// that was made with another configuration or that this experiment does not have, a folder that holds neither a suite
// nor a run, or a file that the table cannot be made from.
//
// Then writes experiment.json, which does not change while this program or others work on the suite: a program with
// other runs is refused. Trains the selected runs that are not finished yet, then prints and writes the table
// (apps/result_table.h). Returns `interrupted` as soon as a run was interrupted. Skips runs that other programs are
// training. After the table, throws Error with one line per reason: for a run that diverged or could not be continued
// (the others are trained nevertheless), if other programs are training all that is left, or if the table could not be
// written. If nothing is left to train and the table is up to date, nothing is written.
RunOutcome train_all(Context& context, const SuiteRequest& request);

}  // namespace noisysgd
