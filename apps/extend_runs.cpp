#include <noisysgd/apps/extend_runs.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/make_model.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/suite.h>
#include <noisysgd/core/file.h>

namespace noisysgd {

namespace {

namespace fs = std::filesystem;

// A run before and after, and where it is.
struct Extended {
  const Regime& before;
  const Regime& after;
  uint64_t seed;
  fs::path folder;
  bool renamed = false;     // belongs to `after` already
  int64_t steps = 0;        // done
  int64_t total_steps = 0;  // of `after`

  fs::path checkpoint() const { return folder / checkpoint_file; }
};

int64_t steps_done(const fs::path& checkpoint) { return fs::exists(checkpoint) ? Checkpoint(checkpoint).steps() : 0; }

// Throws Error for the first step so far that would have been another one.
void check_past(const Extended& run, const BatchSchedule& before, const BatchSchedule& after) {
  const int64_t noisy_before = run.before.noisy_steps(before), noisy_after = run.after.noisy_steps(after);
  NSGD_CHECK(run.steps <= before.total_steps(), "{}: has made {} steps of a run of {}", run.checkpoint().string(),
             run.steps, before.total_steps());
  const std::string longer =
      fmt::format("--epochs {}: {} cannot be trained on: ", run.after.epochs, run.folder.string());
  for (int64_t step = 0; step < run.steps; ++step) {
    const double rate = learning_rate_of(run.before, before, step), now = learning_rate_of(run.after, after, step);
    NSGD_CHECK(rate == now,
               "{}the schedule \"{}\" of {} epochs has another learning rate at past steps ({} at step {}, not {})",
               longer, run.before.schedule.type(), run.after.epochs, now, step + 1, rate);
    NSGD_CHECK((step < noisy_before) == (step < noisy_after), "{}with {} epochs the noise would end at step {}, not {}",
               longer, run.after.epochs, noisy_after, noisy_before);
    NSGD_CHECK(before.position(step).samples == after.position(step).samples,
               "{}with {} epochs step {} would have had a batch of {}, not {}", longer, run.after.epochs, step + 1,
               after.position(step).samples, before.position(step).samples);
  }
}

bool is_run(const Json& identity, const Regime& regime, uint64_t seed, const Extensions& extensions) {
  return identity_differences(identity, regime, seed, extensions).empty();
}

// The runs in the folder; none if one of them belongs to neither experiment.
std::vector<Extended> runs_there(const Experiment& before, const Experiment& after, const Extensions& extensions,
                                 const fs::path& folder) {
  std::vector<Extended> runs;
  const std::vector<SuiteRun> old = suite_runs(before, folder), extended = suite_runs(after, folder);
  for (size_t i = 0; i < old.size(); ++i) {
    if (!run_in(old[i].folder)) continue;
    const Json there = parse_json(read_file(old[i].folder / config_file), (old[i].folder / config_file).string());
    const auto is_one_of_both = [&](const Json& identity) {
      return is_run(identity, extended[i].regime, old[i].seed, extensions) ||
             is_run(identity, old[i].regime, old[i].seed, extensions);
    };
    const bool renamed = is_run(there, extended[i].regime, old[i].seed, extensions);
    if (!is_one_of_both(there)) return {};
    if (const fs::path checkpoint = old[i].folder / checkpoint_file; fs::exists(checkpoint))
      if (const std::optional<Json> identity = Checkpoint(checkpoint).identity())
        NSGD_CHECK(is_one_of_both(*identity), "{}: is of another run", checkpoint.string());
    runs.push_back({old[i].regime, extended[i].regime, old[i].seed, old[i].folder, renamed,
                    steps_done(old[i].folder / checkpoint_file)});
  }
  return runs;
}

// The result so far stays: training on may diverge. Can be repeated after an interrupt.
void extend(const Extended& run) {
  const Json identity = run_identity(run.after, run.seed);
  const fs::path summary = run.folder / summary_file;
  const bool finished = fs::exists(summary) && run.steps < run.total_steps;
  if (!run.renamed) {
    std::vector<fs::path> kept = kept_checkpoints(run.folder);
    kept.push_back(run.folder / best_checkpoint_file);
    kept.push_back(run.checkpoint());
    for (const fs::path& path : kept)
      if (fs::exists(path)) copy_checkpoint(path, path, identity);
    if (finished) fs::copy_file(run.checkpoint(), kept_checkpoint(run.folder, run.before.epochs),
                                fs::copy_options::overwrite_existing);
    write_file_atomically(run.folder / config_file, identity.dump(2) + "\n");
  }
  if (finished) fs::rename(summary, kept_summary(run.folder, run.before.epochs));  // the run is no longer finished
}

}  // namespace

Experiment with_epochs(const Experiment& experiment, int64_t epochs, const Extensions& extensions) {
  NSGD_CHECK(experiment.budget == 1, "--epochs: the runs are shortened by a \"budget\" of {}; leave it out",
             experiment.budget);
  Json document = experiment.document;
  document["epochs"] = epochs;
  for (size_t i = 0; i < experiment.regimes.size(); ++i) {
    const Regime& regime = experiment.regimes[i];
    NSGD_CHECK(regime.epochs <= epochs, "--epochs {}: {} has {} epochs; expected at least as many", epochs,
               regime.place, regime.epochs);
    Json& own = regime.name.empty() ? document : document["regimes"][i];
    if (own.contains("epochs")) own["epochs"] = epochs;
    const double stop = regime.noise.options().stop_fraction;
    if (regime.noise.active() && stop < 1 && regime.epochs < epochs)
      own["noise"]["stop_fraction"] = stop * static_cast<double>(regime.epochs) / static_cast<double>(epochs);
  }
  Experiment longer = read_experiment(document, "--epochs", extensions);
  longer.notes = experiment.notes;
  return longer;
}

namespace {

// Equal but for the last bits of numbers: a stop_fraction is scaled once for each --epochs.
bool nearly_equal(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) {
    const double x = a.get<double>(), y = b.get<double>();
    return std::abs(x - y) <= 1e-12 * std::abs(x);
  }
  if (a.type() != b.type() || a.size() != b.size()) return false;
  if (!a.is_structured()) return a == b;
  if (a.is_array()) return std::equal(a.begin(), a.end(), b.begin(), nearly_equal);
  for (const auto& [key, value] : a.items())
    if (!b.contains(key) || !nearly_equal(value, b.at(key))) return false;
  return true;
}

}  // namespace

Experiment trained_on_so_far(const Experiment& given, int64_t epochs, const Extensions& extensions,
                             const fs::path& folder) {
  const std::string path = (folder / experiment_file).string();
  const std::optional<std::string> text = read_plain_file(path);
  if (!text || given.budget != 1) return given;
  Experiment there = read_experiment(parse_json(*text, path), path, extensions);
  if (there.budget != 1) return given;
  for (const Experiment* experiment : {&given, &std::as_const(there)})
    for (const Regime& regime : experiment->regimes) epochs = std::max(epochs, regime.epochs);
  const bool same =
      nearly_equal(with_epochs(given, epochs, extensions).document, with_epochs(there, epochs, extensions).document);
  if (!same) return given;
  there.notes = given.notes;
  return there;
}

void extend_runs(Context& context, const Experiment& before, const Experiment& after, const Extensions& extensions,
                 const fs::path& folder) {
  if (!fs::exists(folder / experiment_file)) return;
  const PathLock suite = PathLock::wait(folder);
  const auto free = PathLock::attempt(folder / experiment_file);
  NSGD_CHECK(free, "{}: another program is at work on it; wait for it", folder.string());
  std::vector<Extended> runs = runs_there(before, after, extensions, folder);
  DataCache cache;
  for (Extended& run : runs) {
    const auto data = cache.get(run.before);
    Model model = make_model(context, run.before, *data, extensions);
    if (fs::exists(run.checkpoint())) Checkpoint(run.checkpoint()).load(model, SavedWeights::last);  // or throws
    const auto schedule_of = [&](const Regime& regime) {
      return regime.batch_schedule(data->sets.train.count, model.coupling());
    };
    const BatchSchedule schedule = schedule_of(run.after);
    if (!run.renamed) check_past(run, schedule_of(run.before), schedule);
    run.total_steps = schedule.total_steps();
  }
  for (const Extended& run : runs) extend(run);
  if (!runs.empty()) write_file_atomically(folder / experiment_file, after.document.dump(2) + "\n");
}

}  // namespace noisysgd
