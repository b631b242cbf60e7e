// All regimes and seeds of an experiment, one run folder each, and the table that compares them.
#pragma once

#include <filesystem>

#include "apps/trainer.h"

namespace noisysgd {

struct SuiteRequest {
  const Experiment& experiment;
  const Extensions& extensions;
  std::filesystem::path folder;
  Progress::Mode progress = Progress::Mode::lines;
};

// OUTPUT itself for a single run, else OUTPUT/REGIME/seed-S.
std::filesystem::path run_folder(const SuiteRequest& request, const Regime& regime, uint64_t seed);

// Runs what is not finished yet, then writes table.txt, table.md and table.json (mean ± standard deviation over seeds)
// and prints the table. Returns `interrupted` as soon as a run was.
RunOutcome train_all(Context& context, const SuiteRequest& request);

}  // namespace noisysgd
