#include "apps/suite.h"

#include <fmt/ranges.h>

#include <cstdio>

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

void check_suite(Context& context, const SuiteRequest& request, DataCache& data) {
  for (const Regime& regime : request.experiment.regimes) {
    bool to_be_made = false;
    for (const uint64_t seed : request.experiment.seeds) {
      const std::filesystem::path folder = run_folder(request, regime, seed);
      if (holds_run(folder)) check_identity(folder, regime, seed, request.extensions);
      to_be_made |= request.only.includes(regime, seed) && !is_finished(folder);
    }
    if (to_be_made) make_checked_model(context, regime, *data.get(regime), request.extensions);
  }
}

RunOutcome train_all(Context& context, const SuiteRequest& request) {
  DataCache data;
  check_suite(context, request, data);
  make_folder(request.folder);
  write_file_atomically(request.folder / "experiment.json", request.experiment.document.dump(2) + "\n");
  std::vector<std::string> diverged;
  for (const Regime& regime : request.experiment.regimes) {
    for (const uint64_t seed : request.experiment.seeds) {
      if (!request.only.includes(regime, seed)) continue;
      const std::filesystem::path folder = run_folder(request, regime, seed);
      if (is_finished(folder)) continue;
      const RunRequest run{regime, request.extensions, seed, folder, request.progress};
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
  for (const Regime& regime : request.experiment.regimes) {
    std::vector<std::filesystem::path> folders;
    for (const uint64_t seed : request.experiment.seeds) folders.push_back(run_folder(request, regime, seed));
    results.push_back(read_results(regime, folders));
  }
  const std::string text = write_result_table(request.experiment, results, request.folder);
  if (request.progress != Progress::Mode::quiet) fmt::print("\n{}\nwritten to {}\n", text, request.folder.string());
  if (!diverged.empty()) throw Divergence(fmt::format("{}", fmt::join(diverged, "\n")));
  return RunOutcome::finished;
}

}  // namespace noisysgd
