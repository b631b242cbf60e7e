#include "apps/suite.h"

#include <fmt/ranges.h>

#include <set>

#include "apps/console.h"
#include "apps/run_folder.h"
#include "core/file.h"

namespace noisysgd {

std::vector<SuiteRun> suite_runs(const Experiment& experiment, const std::filesystem::path& folder) {
  const std::optional<RunName> here = run_in(folder);
  const bool alone = experiment.regimes.size() == 1 && experiment.seeds.size() == 1;
  std::vector<SuiteRun> runs;
  for (const Regime& regime : experiment.regimes)
    for (const uint64_t seed : experiment.seeds) {
      std::filesystem::path own = regime.name.empty() ? folder : folder / regime.name;
      own /= fmt::format("seed-{}", seed);
      const bool in_folder = here ? *here == RunName{regime.name, seed} : alone && !run_in(own);
      runs.push_back({regime, seed, in_folder ? folder : own});
    }
  return runs;
}

namespace {

// The experiment.json and the table of a folder are of all runs that it holds.
void check_kept(const SuiteRequest& request, const std::vector<SuiteRun>& runs) {
  const std::filesystem::path path = request.folder / experiment_file;
  const std::optional<std::string> text = read_plain_file(path);
  if (!text) return;
  std::set<std::filesystem::path> here;
  for (const SuiteRun& run : runs) here.insert(run.folder);
  const Experiment there = read_experiment(parse_json(*text, path.string()), path.string(), request.extensions);
  for (const SuiteRun& run : suite_runs(there, request.folder))
    NSGD_CHECK(!run_in(run.folder) || here.contains(run.folder),
               "{}: {} and the table would no longer tell of this run; keep its regime and seed, or use another "
               "--output",
               run.folder.string(), experiment_file);
}

void check_suite(Context& context, const SuiteRequest& request, const std::vector<SuiteRun>& runs, DataCache& data) {
  check_ours(request.folder);
  check_kept(request, runs);
  std::set<const Regime*> to_be_made;
  for (const SuiteRun& run : runs) {
    check_ours(run.folder);
    check_identity(run.folder, run.regime, run.seed, request.extensions, request.folder);
    if (request.only.includes(run.regime, run.seed) && !is_finished(run.folder)) to_be_made.insert(&run.regime);
  }
  read_results(request.experiment, runs);  // throws now, not after the last run
  for (const Regime& regime : request.experiment.regimes)
    if (to_be_made.contains(&regime)) make_checked_model(context, regime, *data.get(regime), request.extensions);
}

}  // namespace

RunOutcome train_all(Context& context, const SuiteRequest& request) {
  DataCache data;
  const std::vector<SuiteRun> runs = suite_runs(request.experiment, request.folder);
  check_suite(context, request, runs, data);
  make_folder(request.folder);
  const std::string document = request.experiment.document.dump(2) + "\n";
  if (read_plain_file(request.folder / experiment_file) != document)
    write_file_atomically(request.folder / experiment_file, document);

  std::vector<std::string> failed, in_use;
  bool made_one = false;
  const auto tell = [&](const SuiteRun& run, const char* what) {
    Progress(request.progress, "").line(fmt::format("{}: {}", run.folder.string(), what));
  };
  for (const SuiteRun& run : runs) {
    if (!request.only.includes(run.regime, run.seed) || is_finished(run.folder)) continue;
    if (request.interrupts && request.interrupts->received()) return RunOutcome::interrupted;
    const auto loaded = data.get(run.regime);
    try {
      const RunRequest one{run.regime, request.extensions, run.seed, run.folder, request.progress, request.interrupts};
      if (train(context, *loaded, one) == RunOutcome::interrupted) return RunOutcome::interrupted;
      made_one = true;
    } catch (const FolderInUse& error) {
      in_use.push_back(error.what());
      tell(run, "another program is at work on it");
    } catch (const Divergence& error) {
      failed.push_back(error.what());
      tell(run, "diverged");
    } catch (const UnusableRun& error) {
      failed.push_back(error.what());
      tell(run, "cannot be continued");
    }
  }
  const std::string text = write_result_table(
      request.experiment, [&] { return read_results(request.experiment, runs); }, request.folder);
  if (request.progress != Progress::Mode::quiet) print_out("\n{}\nwritten to {}\n", text, request.folder.string());
  if (!made_one) failed.insert(failed.end(), in_use.begin(), in_use.end());
  if (!failed.empty()) throw Error(fmt::format("{}", fmt::join(failed, "\n")));
  return RunOutcome::finished;
}

}  // namespace noisysgd
