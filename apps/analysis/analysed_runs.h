// The runs that an analysis looks at: those of the experiment in its document, trained into the folder `runs` of its
// output, or with "runs" those that noisysgd-train has made in a folder.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/make_model.h>
#include <noisysgd/apps/selection.h>
#include <noisysgd/apps/suite.h>

namespace noisysgd {

// A state of a run that is on disk.
struct RunState {
  int64_t epoch = 0, step = 0;       // done
  std::filesystem::path checkpoint;  // empty: the initial parameters
};

class AnalysedRuns {
 public:
  // Reads "runs", a folder, and "only", selections as of noisysgd-train's --only, of the analysis.
  static AnalysedRuns read(const AnalysisInput& input);

  // Trains what is missing of the selected runs and returns them, in the order of the experiment. A run that was
  // interrupted goes on from its checkpoint. With "runs" nothing is trained: throws Error for an unfinished run.
  std::vector<SuiteRun> make(AnalysisOutput& output);
  // The same of one run, whether it is selected or not.
  SuiteRun make_one(AnalysisOutput& output, const Regime& regime, uint64_t seed);

  // Whether "only" selects it.
  bool includes(const Regime& regime, uint64_t seed) const { return only_.includes(regime, seed); }
  // The initial state, those that checkpoint.keep_every_epochs has kept, and the last. schedule: of the run. Throws
  // Error for a checkpoint of another run or of another epoch than its name says.
  std::vector<RunState> states(const SuiteRun& run, const BatchSchedule& schedule) const;

  const Experiment& experiment() const { return *experiment_; }
  const Extensions& extensions() const { return *extensions_; }
  // Throws Error for a name that no regime has. Empty: the first.
  const Regime& regime(const std::string& name) const;
  Context& context();
  std::shared_ptr<const TrainingData> data(const Regime& regime) { return cache_.get(regime); }

 private:
  std::vector<SuiteRun> make(AnalysisOutput& output, const Selection& selection);

  // Shared, as runs refer to them.
  std::shared_ptr<const Experiment> experiment_;
  std::shared_ptr<const Extensions> extensions_;
  std::optional<std::filesystem::path> folder_;  // of runs that are there
  Selection only_;
  std::unique_ptr<Context> context_;
  DataCache cache_;
};

// "LB seed 1", or "seed 1" if the experiment has no regimes; and "LB" or "run".
std::string label_of(const SuiteRun& run);
std::string label_of(const Regime& regime);

// Gives a model of that run the parameters and buffers of the state.
void set_state(Model& model, const Regime& regime, uint64_t seed, const RunState& state);

}  // namespace noisysgd
