#include "apps/suite.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/file.h"
#include "core/text_table.h"

namespace noisysgd {

namespace {

struct Spread {
  double mean = 0, deviation = 0;  // deviation: of the sample, n-1; 0 for one value
  size_t count = 0;
};

Spread spread_of(const std::vector<Json>& summaries, const char* key) {
  Spread spread;
  spread.count = summaries.size();
  for (const Json& summary : summaries)
    spread.mean += summary.at(key).get<double>() / static_cast<double>(spread.count);
  if (spread.count < 2) return spread;
  double squares = 0;
  for (const Json& summary : summaries) squares += std::pow(summary.at(key).get<double>() - spread.mean, 2);
  spread.deviation = std::sqrt(squares / static_cast<double>(spread.count - 1));
  return spread;
}

std::string format_spread(const Spread& spread, double factor, int digits) {
  std::string text = fmt::format("{:.{}f}", factor * spread.mean, digits);
  if (spread.count > 1) text += fmt::format(" ± {:.{}f}", factor * spread.deviation, digits);
  return text;
}

// Summaries of the finished seeds of a regime.
std::vector<Json> finished_runs(const SuiteRequest& request, const Regime& regime) {
  std::vector<Json> summaries;
  for (const uint64_t seed : request.experiment.seeds) {
    const auto path = run_folder(request, regime, seed) / "summary.json";
    if (std::filesystem::exists(path)) summaries.push_back(parse_json(read_file(path), path.string()));
  }
  return summaries;
}

// "NAME: mean ± standard deviation after training, 3 seeds; a trial at budget 0.1: 20 epochs; 4 of 9 runs finished"
std::string table_title(const Experiment& experiment, size_t finished) {
  const size_t seeds = experiment.seeds.size(), runs = seeds * experiment.regimes.size();
  std::string title = fmt::format("{}: {} after training, {} seed{}", experiment.name,
                                  seeds > 1 ? "mean ± standard deviation" : "result", seeds, seeds > 1 ? "s" : "");
  const int64_t epochs = experiment.regimes.front().epochs;
  if (experiment.budget != 1)
    title += fmt::format("; a trial at budget {}: {} epoch{}", experiment.budget, epochs, epochs > 1 ? "s" : "");
  if (finished < runs) title += fmt::format("; {} of {} runs finished", finished, runs);
  return title;
}

void write_table(const SuiteRequest& request) {
  const Experiment& experiment = request.experiment;
  const bool published = std::any_of(experiment.regimes.begin(), experiment.regimes.end(),
                                     [](const Regime& regime) { return regime.expected_accuracy.has_value(); });
  std::vector<std::string> header{"regime", "test accuracy %", "best %", "train loss", "train accuracy %", "time"};
  if (published) header.insert(header.begin() + 1, "paper %");
  TextTable table(header);
  Json rows = Json::array();
  size_t finished = 0;
  for (const Regime& regime : experiment.regimes) {
    const std::vector<Json> summaries = finished_runs(request, regime);
    if (summaries.empty()) continue;
    finished += summaries.size();
    const Spread accuracy = spread_of(summaries, "test_accuracy"), best = spread_of(summaries, "best_test_accuracy"),
                 loss = spread_of(summaries, "train_loss"), train_accuracy = spread_of(summaries, "train_accuracy"),
                 seconds = spread_of(summaries, "seconds");
    std::vector<std::string> cells{regime.name.empty() ? experiment.name : regime.name,
                                   format_spread(accuracy, 100, 2),
                                   format_spread(best, 100, 2),
                                   format_spread(loss, 1, 4),
                                   format_spread(train_accuracy, 100, 2),
                                   format_duration(seconds.mean)};
    if (published)
      cells.insert(cells.begin() + 1, regime.expected_accuracy ? fmt::format("{:.2f}", *regime.expected_accuracy) : "");
    table.add_row(cells);
    rows.push_back(
        {{"regime", regime.name},
         {"test_accuracy", {{"mean", accuracy.mean}, {"standard_deviation", accuracy.deviation}}},
         {"best_test_accuracy", {{"mean", best.mean}, {"standard_deviation", best.deviation}}},
         {"train_loss", {{"mean", loss.mean}, {"standard_deviation", loss.deviation}}},
         {"train_accuracy", {{"mean", train_accuracy.mean}, {"standard_deviation", train_accuracy.deviation}}},
         {"seconds", seconds.mean},
         {"runs", summaries}});
    if (regime.expected_accuracy) rows.back()["published_test_accuracy"] = *regime.expected_accuracy / 100;
  }
  const std::string title = table_title(experiment, finished), text = title + "\n" + table.text();
  write_file_atomically(request.folder / "table.txt", text);
  write_file_atomically(request.folder / "table.md", title + "\n\n" + table.markdown());
  const Json document{
      {"name", experiment.name}, {"seeds", experiment.seeds}, {"budget", experiment.budget}, {"rows", rows}};
  write_file_atomically(request.folder / "table.json", document.dump(2) + "\n");
  if (request.progress != Progress::Mode::quiet) fmt::print("\n{}\nwritten to {}\n", text, request.folder.string());
}

}  // namespace

std::filesystem::path run_folder(const SuiteRequest& request, const Regime& regime, uint64_t seed) {
  if (request.experiment.regimes.size() == 1 && request.experiment.seeds.size() == 1) return request.folder;
  std::filesystem::path folder = request.folder;
  if (!regime.name.empty()) folder /= regime.name;
  return folder / fmt::format("seed-{}", seed);
}

RunOutcome train_all(Context& context, const SuiteRequest& request) {
  DataCache data;
  for (const Regime& regime : request.experiment.regimes) {
    for (const uint64_t seed : request.experiment.seeds) {
      if (!request.only.includes(regime, seed)) continue;
      const std::filesystem::path folder = run_folder(request, regime, seed);
      if (is_finished(folder)) {
        check_identity(folder, regime, seed, request.extensions);
        continue;
      }
      const auto loaded = data.get(regime);
      if (train(context, *loaded, {regime, request.extensions, seed, folder, request.progress}) ==
          RunOutcome::interrupted)
        return RunOutcome::interrupted;
    }
  }
  write_table(request);
  return RunOutcome::finished;
}

}  // namespace noisysgd
