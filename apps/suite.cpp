#include <noisysgd/apps/suite.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include <noisysgd/apps/console.h>
#include <noisysgd/apps/initial_values.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>

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

std::filesystem::path experiment_path(const SuiteRequest& request) { return request.folder / experiment_file; }

std::string document_of(const SuiteRequest& request) { return request.experiment.document.dump(2) + "\n"; }

// The experiment that the folder was made from, if there is one.
std::optional<Experiment> experiment_there(const SuiteRequest& request) {
  const std::string path = experiment_path(request).string();
  const std::optional<std::string> text = read_plain_file(path);
  if (!text) return {};
  return read_experiment(parse_json(*text, path), path, request.extensions);
}

// The identities of all runs of an experiment, in the order of its table.
std::vector<Json> identities(const Experiment& experiment) {
  std::vector<Json> all;
  for (const Regime& regime : experiment.regimes)
    for (const uint64_t seed : experiment.seeds) all.push_back(run_identity(regime, seed));
  return all;
}

// Throws Error if the folder holds a run that the new experiment.json and table would not include.
void check_kept(const SuiteRequest& request, const std::vector<SuiteRun>& runs) {
  const std::optional<Experiment> there = experiment_there(request);
  if (!there) return;
  std::set<std::filesystem::path> here;
  for (const SuiteRun& run : runs) here.insert(run.folder);
  for (const SuiteRun& run : suite_runs(*there, request.folder))
    NSGD_CHECK(!run_in(run.folder) || here.contains(run.folder),
               "{}: {} and the table would no longer include this run; keep its regime and seed, or use another "
               "--output",
               run.folder.string(), experiment_file);
}

void check_identities(const SuiteRequest& request, const std::vector<SuiteRun>& runs) {
  const bool as_it_is = read_plain_file(experiment_path(request)) == document_of(request);
  const std::string advice =
      as_it_is ? fmt::format("undo what was changed in {}, or use another --output", experiment_path(request).string())
               : fmt::format("continue it as it is by noisysgd-train {} --resume, or use another --output",
                             request.folder.string());
  for (const SuiteRun& run : runs) check_identity(run.folder, run.regime, run.seed, request.extensions, advice);
}

// The results for the table. Throws Error for a run of another configuration.
std::vector<RegimeResults> results_of(const SuiteRequest& request, const std::vector<SuiteRun>& runs) {
  check_identities(request, runs);
  return read_results(request.experiment, runs);
}

// Returns the runs. Throws Error if the folder cannot hold them.
std::vector<SuiteRun> checked_runs(const SuiteRequest& request) {
  check_ours(request.folder, FolderOf::suite);
  std::vector<SuiteRun> runs = suite_runs(request.experiment, request.folder);
  check_kept(request, runs);
  for (const SuiteRun& run : runs)
    if (run.folder != request.folder) check_ours(run.folder, FolderOf::run);
  results_of(request, runs);  // throws now, not after the last run
  return runs;
}

bool is_to_be_made(const SuiteRequest& request, const SuiteRun& run) {
  const bool ended = request.trials ? is_settled(run.folder) : is_finished(run.folder);
  return request.only.includes(run.regime, run.seed) && !ended;
}

void check_models(Context& context, const SuiteRequest& request, const std::vector<SuiteRun>& runs, DataCache& data) {
  std::set<const Regime*> to_be_made, to_be_begun;
  for (const SuiteRun& run : runs) {
    if (!is_to_be_made(request, run)) continue;
    to_be_made.insert(&run.regime);
    if (!std::filesystem::exists(run.folder / checkpoint_file)) to_be_begun.insert(&run.regime);
  }
  for (const Regime& regime : request.experiment.regimes) {
    if (!to_be_made.contains(&regime)) continue;
    Model model = make_checked_model(context, regime, *data.get(regime), request.extensions);
    if (to_be_begun.contains(&regime)) check_initial_values(model, regime);
  }
}

double samples_of(const SuiteRun& run, DataCache& data) {
  return static_cast<double>(run.regime.epochs) * static_cast<double>(data.get(run.regime)->sets.train.count);
}

// While a Claim exists, experiment.json does not change: all programs that work on a suite use one configuration.
struct Claim {
  std::vector<SuiteRun> runs;
  PathLock lock;
};

// Locks the folder, checks it again, since another program may have changed it, and writes experiment.json.
Claim claim_suite(const SuiteRequest& request) {
  make_folder(request.folder);
  const PathLock folder = PathLock::wait(request.folder);
  std::vector<SuiteRun> runs = checked_runs(request);
  const std::filesystem::path path = experiment_path(request);
  const std::optional<Experiment> there = experiment_there(request);
  if (!there || there->document != request.experiment.document) {
    const bool at_work = there && !PathLock::attempt(path);
    NSGD_CHECK(
        !at_work || identities(*there) == identities(request.experiment),
        "{}: another program is at work on it with another configuration ({}); wait for it, use its configuration, "
        "or another --output",
        request.folder.string(),
        fmt::format("{}", fmt::join(config_differences(there->document, request.experiment.document), "; ")));
    if (!at_work) write_file_atomically(path, document_of(request));
  }
  auto lock = PathLock::attempt_shared(path);
  NSGD_CHECK(lock, "{}: is locked, but not by noisysgd-train", path.string());
  return {std::move(runs), std::move(*lock)};
}

// One line per message.
Error error_of_all(const std::vector<std::string>& messages) {
  return Error(fmt::format("{}", fmt::join(messages, "\n")));
}

}  // namespace

bool can_be_continued(const Experiment& experiment, const Extensions& extensions, const std::filesystem::path& folder) {
  try {
    return std::ranges::any_of(checked_runs({.experiment = experiment, .extensions = extensions, .folder = folder}),
                               [](const SuiteRun& run) { return run_in(run.folder).has_value(); });
  } catch (const Error&) {
    return false;
  }
}

RunOutcome train_all(Context& context, const SuiteRequest& request) {
  DataCache data;
  check_models(context, request, checked_runs(request), data);
  const Claim claim = claim_suite(request);
  const std::vector<SuiteRun>& runs = claim.runs;

  std::vector<std::string> failed, in_use;
  bool made_one = false;
  const auto tell = [&](const SuiteRun& run, const char* what) {
    Progress(request.progress, "").line(fmt::format("{}: {}", run.folder.string(), what));
  };
  WorkLeft nothing_else;
  WorkLeft& work = request.work ? *request.work : nothing_else;
  std::set<const SuiteRun*> to_come;
  for (const SuiteRun& run : runs)
    if (is_to_be_made(request, run)) {
      to_come.insert(&run);
      work.add(run.regime.name, samples_of(run, data));
    }
  for (const SuiteRun& run : runs) {
    if (to_come.contains(&run)) work.begin(run.regime.name, samples_of(run, data));
    if (!is_to_be_made(request, run)) continue;
    if (request.interrupts && request.interrupts->received()) return RunOutcome::interrupted;
    try {
      const auto loaded = data.get(run.regime);
      const RunRequest one{run.regime,       request.extensions, run.seed, run.folder,
                           request.progress, request.interrupts, &work};
      if (train(context, *loaded, one) == RunOutcome::interrupted) return RunOutcome::interrupted;
      made_one = true;
    } catch (const FolderInUse& error) {
      in_use.push_back(error.what());
      tell(run, "another program is at work on it");
    } catch (const Divergence& error) {
      if (!request.trials) failed.push_back(error.what());
      tell(run, "diverged");
    } catch (const UnusableRun& error) {
      failed.push_back(error.what());
      tell(run, "cannot be continued");
    } catch (const Error& error) {  // such as a full disk, which would stop the next run too
      failed.push_back(error.what());
      throw error_of_all(failed);
    }
  }
  if (!made_one && !request.trials) failed.insert(failed.end(), in_use.begin(), in_use.end());
  try {
    const WrittenTable table =
        write_result_table(request.experiment, [&] { return results_of(request, runs); }, request.folder);
    const bool written = table.unwritten.empty();
    if (request.progress != Progress::Mode::quiet)
      print_out("\n{}\n{}", table.text, written ? fmt::format("written to {}\n", request.folder.string()) : "");
    if (!written) failed.push_back(table.unwritten);
  } catch (const Error& error) {  // of a file that has changed since the folder was checked
    failed.push_back(error.what());
  }
  if (!failed.empty()) throw error_of_all(failed);
  return RunOutcome::finished;
}

}  // namespace noisysgd
