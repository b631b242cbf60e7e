// The table that compares the regimes of an experiment: the results of the finished runs, as mean ± standard deviation
// over their seeds, next to the published accuracy if a regime states one, and the runs that diverged. A second table
// has the differences from the first regime over common seeds, with Student's 95 % interval. With "columns" in the
// configuration, the table shows these values and leaves out best, train accuracy and time, which table.json has.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

// A run of a suite, and its folder, which may not exist yet.
struct SuiteRun {
  const Regime& regime;
  uint64_t seed;
  std::filesystem::path folder;
};

struct RegimeResults {
  std::vector<Json> finished, diverged;  // summary.json and diverged.json of the runs that have one

  bool operator==(const RegimeResults&) const = default;
};

// The results of each of the experiment's regimes. Throws Error that names a file if it belongs to another run or lacks
// a value that the table shows.
std::vector<RegimeResults> read_results(const Experiment& experiment, const std::vector<SuiteRun>& runs);

struct WrittenTable {
  std::string text;       // the content of table.txt
  std::string unwritten;  // why the folder does not hold the table; empty if it does
};

// read()[i] are the results of the experiment's regimes[i]; a regime without results has no row. Writes table.txt,
// table.md and table.json into the folder, each only if its content changes. Then reads the results again, and writes
// again until they have not changed. If several programs end at the same time, the last one's table therefore has the
// runs of all.
WrittenTable write_result_table(const Experiment& experiment, const std::function<std::vector<RegimeResults>()>& read,
                                const std::filesystem::path& folder);

}  // namespace noisysgd
