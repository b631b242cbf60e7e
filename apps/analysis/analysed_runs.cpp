#include <noisysgd/apps/analysis/analysed_runs.h>

#include <fmt/format.h>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/initial_values.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/train_app.h>
#include <noisysgd/core/config.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/suggest.h>
#include <noisysgd/data/file.h>

namespace noisysgd {

namespace {

RunState state_in(const std::filesystem::path& path, const SuiteRun& run, const BatchSchedule& schedule,
                  const Extensions& extensions) {
  const Checkpoint checkpoint(path);
  if (const std::optional<Json> identity = checkpoint.identity()) {
    const auto differences = identity_differences(*identity, run.regime, run.seed, extensions);
    NSGD_CHECK(differences.empty(), "{}: is of another run ({})", path.string(),
               fmt::format("{}", fmt::join(differences, "; ")));
  }
  const int64_t step = checkpoint.steps(schedule.total_steps());
  return {schedule.position(step).epoch, step, path};
}

}  // namespace

AnalysedRuns AnalysedRuns::read(const AnalysisInput& input) {
  AnalysedRuns runs;
  runs.extensions_ = std::make_shared<const Extensions>(input.extensions);
  const ConfigReader& json = input.json;
  const std::optional<std::string> folder = json.optional_string("runs");
  if (!folder) {
    runs.experiment_ = std::make_shared<const Experiment>(
        read_experiment(input.experiment, input.origin, *runs.extensions_, input.assignments));
  } else {
    for (const auto& [key, value] : input.experiment.items())
      if (key != "name" && key != "device" && key != "threads" && !is_comment(key))
        json.error("runs", fmt::format("the runs have their own configuration: leave out \"{}\"", key));
    runs.folder_ = expand_home(*folder);
    const std::string path = (*runs.folder_ / experiment_file).string();
    const std::optional<std::string> text = read_plain_file(path);
    NSGD_CHECK(text, "analysis.runs: \"{}\" holds no {}; expected a folder that noisysgd-train has made, or the folder "
               "{} of an analysis", *folder, experiment_file, analysed_runs_folder);
    Json document = parse_json(*text, path);
    for (const char* key : {"device", "threads"})
      if (input.experiment.contains(key)) document[key] = input.experiment[key];
    runs.experiment_ = std::make_shared<const Experiment>(read_experiment(document, path, *runs.extensions_));
  }
  const std::vector<std::string> only = json.strings("only", {.default_value = std::vector<std::string>{}});
  try {
    runs.only_ = Selection(only, *runs.experiment_);
  } catch (const Error& error) {
    json.error("only", error.what());
  }
  return runs;
}

Context& AnalysedRuns::context() {
  if (!context_) context_ = std::make_unique<Context>(parse_device(experiment_->device), experiment_->threads);
  return *context_;
}

const Regime& AnalysedRuns::regime(const std::string& name) const {
  if (name.empty()) return experiment_->regimes.front();
  std::vector<std::string> names;
  for (const Regime& regime : experiment_->regimes) {
    if (regime.name == name) return regime;
    names.push_back(regime.name);
  }
  throw Error(fmt::format("no regime is named \"{}\"{}", name, suggestion(name, names)));
}

std::vector<SuiteRun> AnalysedRuns::make(AnalysisOutput& output) { return make(output, only_); }

SuiteRun AnalysedRuns::make_one(AnalysisOutput& output, const Regime& regime, uint64_t seed) {
  const std::string name = regime.name.empty() ? "" : fmt::format("regime={},", Json(regime.name).dump());
  return make(output, Selection({fmt::format("{}seed={}", name, seed)}, *experiment_)).at(0);
}

std::vector<SuiteRun> AnalysedRuns::make(AnalysisOutput& output, const Selection& selection) {
  const std::filesystem::path folder = folder_.value_or(output.folder() / analysed_runs_folder);
  if (!folder_)
    train_all(context(), {.experiment = *experiment_,
                          .extensions = *extensions_,
                          .folder = folder,
                          .progress = output.progress(),
                          .only = selection});
  std::vector<SuiteRun> selected;
  for (const SuiteRun& run : suite_runs(*experiment_, folder)) {
    if (!selection.includes(run.regime, run.seed)) continue;
    check_identity(run.folder, run.regime, run.seed, *extensions_, "give another folder as analysis.runs");
    NSGD_CHECK(is_finished(run.folder), "{}: is not a finished run; {}", run.folder.string(),
               folder_ ? fmt::format("noisysgd-train {} --resume ends it", folder.string())
                       : "another program may be training it; the same command goes on when it has finished");
    selected.push_back(run);
  }
  return selected;
}

std::vector<RunState> AnalysedRuns::states(const SuiteRun& run, const BatchSchedule& schedule) const {
  std::vector<RunState> states{{}};
  for (const auto& path : kept_checkpoints(run.folder)) {
    states.push_back(state_in(path, run, schedule, *extensions_));
    NSGD_CHECK(path == kept_checkpoint(run.folder, states.back().epoch), "{}: is the state after epoch {}",
               path.string(), states.back().epoch);
  }
  const RunState last = state_in(run.folder / checkpoint_file, run, schedule, *extensions_);
  NSGD_CHECK(last.step == schedule.total_steps(), "{}: is the state after step {}, and the run has finished step {}",
             last.checkpoint.string(), last.step, schedule.total_steps());
  if (last.step != states.back().step) states.push_back(last);
  return states;
}

std::string label_of(const SuiteRun& run) {
  return run.regime.name.empty() ? fmt::format("seed {}", run.seed)
                                 : fmt::format("{} seed {}", run.regime.name, run.seed);
}

std::string label_of(const Regime& regime) { return regime.name.empty() ? "run" : regime.name; }

void set_state(Model& model, const Regime& regime, uint64_t seed, const RunState& state) {
  if (state.checkpoint.empty())
    set_initial_values(model, regime, seed);
  else
    Checkpoint(state.checkpoint).load(model, SavedWeights::last);
}

}  // namespace noisysgd
