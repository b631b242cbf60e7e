// All regimes and seeds of an experiment, one run folder each, and the table that compares them.
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
  Selection only = {};  // runs to make; the table has all that are finished
  Interrupts* interrupts = nullptr;
};

// OUTPUT/REGIME/seed-S each, but a run that is in OUTPUT itself stays there, and one that is alone begins there.
std::vector<SuiteRun> suite_runs(const Experiment& experiment, const std::filesystem::path& folder);

// What can be wrong with a run is found before the first begins and before anything is written: data, network, schedule
// and noise of each regime are put together once, and what is in the folder is read. Throws Error that names the
// regime, the folder of a run that was made by another configuration or that this experiment does not have, a folder of
// somebody else, or a file that the table could not be made from.
//
// Then writes experiment.json, which stays as it is while this program or others are at work on the suite: one that
// comes with other runs is refused. Makes the selected runs that are not finished yet, and prints and writes the table
// (apps/result_table.h). Returns `interrupted` as soon as a run was. Runs that other programs are at work on are left
// to them. Throws Error after the table, a line for each reason, if a run diverged or could not be continued, the others
// being made all the same, if all that is left to make is in the hands of other programs, or if the table could not be
// written. Where nothing is left to make and the table is there, nothing is written.
RunOutcome train_all(Context& context, const SuiteRequest& request);

}  // namespace noisysgd
