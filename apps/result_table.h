// The table that compares the regimes of an experiment: what the finished runs give, mean ± standard deviation over
// their seeds, beside the published accuracy where a regime names one, and which runs diverged.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/experiment.h"

namespace noisysgd {

struct RegimeResults {
  std::vector<Json> finished, diverged;  // summary.json and diverged.json of the runs that have one
};

// folders: of the runs of this regime. Throws Error naming a file that lacks what the table shows.
RegimeResults read_results(const Regime& regime, const std::vector<std::filesystem::path>& folders);

// results[i] belongs to the experiment's regimes[i]; a regime without any has no row. Writes table.txt, table.md and
// table.json into the folder and returns the text.
std::string write_result_table(const Experiment& experiment, const std::vector<RegimeResults>& results,
                               const std::filesystem::path& folder);

}  // namespace noisysgd
