#include "apps/suite.h"

#include <fmt/ranges.h>

#include <set>

#include "apps/console.h"
#include "apps/result_table.h"
#include "apps/run_folder.h"
#include "core/file.h"

namespace noisysgd {

std::filesystem::path run_folder(const SuiteRequest& request, const Regime& regime, uint64_t seed) {
  if (request.experiment.regimes.size() == 1 && request.experiment.seeds.size() == 1) return request.folder;
  std::filesystem::path folder = request.folder;
  if (!regime.name.empty()) folder /= regime.name;
  return folder / fmt::format("seed-{}", seed);
}

namespace {

std::vector<std::filesystem::path> run_folders(const SuiteRequest& request, const Regime& regime) {
  std::vector<std::filesystem::path> folders;
  for (const uint64_t seed : request.experiment.seeds) folders.push_back(run_folder(request, regime, seed));
  return folders;
}

// The experiment.json and the table of a folder are of all runs that it holds.
void check_kept(const SuiteRequest& request) {
  const std::filesystem::path path = request.folder / experiment_file;
  if (!std::filesystem::exists(path)) return;
  std::set<std::filesystem::path> here;
  for (const Regime& regime : request.experiment.regimes)
    for (const auto& folder : run_folders(request, regime)) here.insert(folder);
  const Experiment there =
      read_experiment(parse_json(read_file(path), path.string()), path.string(), request.extensions);
  for (const Regime& regime : there.regimes)
    for (const auto& folder : run_folders({there, request.extensions, request.folder}, regime))
      NSGD_CHECK(!holds_run(folder) || here.contains(folder),
                 "{}: {} and the table would no longer tell of this run; keep its regime and seed, or use another "
                 "--output",
                 folder.string(), experiment_file);
}

}  // namespace

void check_suite(Context& context, const SuiteRequest& request, DataCache& data) {
  check_kept(request);
  for (const Regime& regime : request.experiment.regimes) {
    bool to_be_made = false;
    for (const uint64_t seed : request.experiment.seeds) {
      const std::filesystem::path folder = run_folder(request, regime, seed);
      if (holds_run(folder)) check_identity(folder, regime, seed, request.extensions);
      to_be_made |= request.only.includes(regime, seed) && !is_finished(folder);
    }
    read_results(regime, run_folders(request, regime));  // throws now, not after the last run
    if (to_be_made) make_checked_model(context, regime, *data.get(regime), request.extensions);
  }
}

RunOutcome train_all(Context& context, const SuiteRequest& request) {
  DataCache data;
  check_suite(context, request, data);
  make_folder(request.folder);
  write_file_atomically(request.folder / experiment_file, request.experiment.document.dump(2) + "\n");
  std::vector<std::string> diverged;
  for (const Regime& regime : request.experiment.regimes) {
    for (const uint64_t seed : request.experiment.seeds) {
      if (!request.only.includes(regime, seed)) continue;
      const std::filesystem::path folder = run_folder(request, regime, seed);
      if (is_finished(folder)) continue;
      if (request.interrupts && request.interrupts->received()) return RunOutcome::interrupted;
      const RunRequest run{regime, request.extensions, seed, folder, request.progress, request.interrupts};
      const auto loaded = data.get(regime);
      try {
        if (train(context, *loaded, run) == RunOutcome::interrupted) return RunOutcome::interrupted;
      } catch (const Divergence& divergence) {
        diverged.push_back(divergence.what());
        Progress(request.progress, "").line(fmt::format("{}: diverged", folder.string()));
      }
    }
  }
  std::vector<RegimeResults> results;
  for (const Regime& regime : request.experiment.regimes)
    results.push_back(read_results(regime, run_folders(request, regime)));
  const std::string text = write_result_table(request.experiment, results, request.folder);
  if (request.progress != Progress::Mode::quiet) print_out("\n{}\nwritten to {}\n", text, request.folder.string());
  if (!diverged.empty()) throw Divergence(fmt::format("{}", fmt::join(diverged, "\n")));
  return RunOutcome::finished;
}

}  // namespace noisysgd
