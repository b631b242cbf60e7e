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
};

// OUTPUT itself for a single run, else OUTPUT/REGIME/seed-S.
std::filesystem::path run_folder(const SuiteRequest& request, const Regime& regime, uint64_t seed);

// Makes the selected runs that are not finished yet, then writes and prints the table (apps/result_table.h). Returns
// `interrupted` as soon as a run was. Throws Error if a finished run was made by another configuration, and Divergence
// after the table if the loss of one or more runs was not finite: the others are made all the same.
RunOutcome train_all(Context& context, const SuiteRequest& request);

}  // namespace noisysgd
