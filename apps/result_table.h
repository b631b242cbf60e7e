// The table that compares the regimes of an experiment: what the finished runs give, mean ± standard deviation over
// their seeds, beside the published accuracy where a regime names one, and which runs diverged.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

// One of a suite's runs, and where it is or will be.
struct SuiteRun {
  const Regime& regime;
  uint64_t seed;
  std::filesystem::path folder;
};

struct RegimeResults {
  std::vector<Json> finished, diverged;  // summary.json and diverged.json of the runs that have one

  bool operator==(const RegimeResults&) const = default;
};

// Of each of the experiment's regimes. Throws Error naming a file that is of another run, or lacks what the table
// shows.
std::vector<RegimeResults> read_results(const Experiment& experiment, const std::vector<SuiteRun>& runs);

struct WrittenTable {
  std::string text;       // of table.txt
  std::string unwritten;  // why the folder does not hold the table; empty if it does
};

// read()[i] belongs to the experiment's regimes[i]; a regime without any has no row. Writes table.txt, table.md and
// table.json into the folder, each if it says something else there. Reads once more after writing, and writes anew until
// nothing has changed: of several programs that end together the last one's table has the runs of all.
WrittenTable write_result_table(const Experiment& experiment, const std::function<std::vector<RegimeResults>()>& read,
                                const std::filesystem::path& folder);

}  // namespace noisysgd
