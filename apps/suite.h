// All regimes and seeds of an experiment, one run folder each, and the table that compares them.
#pragma once

#include <filesystem>

#include "apps/selection.h"
#include "apps/trainer.h"

namespace noisysgd {

struct SuiteRequest {
  const Experiment& experiment;
  const Extensions& extensions;
  std::filesystem::path folder;
  Progress::Mode progress = Progress::Mode::lines;
  Selection only = {};  // runs to make; the table has all that are finished
  Interrupts* interrupts = nullptr;
};

// Of the suite's folder: the document that it was made from.
inline constexpr const char* experiment_file = "experiment.json";

// OUTPUT itself for a single run, else OUTPUT/REGIME/seed-S.
std::filesystem::path run_folder(const SuiteRequest& request, const Regime& regime, uint64_t seed);

// What can be wrong with a run is found before the first begins and before anything is written: data, network, schedule
// and noise of each regime are put together once, and what is in the folder is read. Throws Error that names the
// regime, the folder of a run that was made by another configuration or that this experiment does not have, or a file
// that the table could not be made from.
void check_suite(Context& context, const SuiteRequest& request, DataCache& data);

// Checks the suite and writes experiment.json; makes the selected runs that are not finished yet, then writes and
// prints the table (apps/result_table.h). Returns `interrupted` as soon as a run was. Throws Divergence after the table
// if the loss of one or more runs was not finite: the others are made all the same.
RunOutcome train_all(Context& context, const SuiteRequest& request);

}  // namespace noisysgd
