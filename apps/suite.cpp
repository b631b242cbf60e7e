#include "apps/suite.h"

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

void write_table(const SuiteRequest& request) {
  const Experiment& experiment = request.experiment;
  TextTable table({"regime", "test accuracy %", "best %", "train loss", "train accuracy %", "time"});
  Json rows = Json::array();
  for (const Regime& regime : experiment.regimes) {
    std::vector<Json> summaries;
    for (const uint64_t seed : experiment.seeds) {
      const auto path = run_folder(request, regime, seed) / "summary.json";
      summaries.push_back(parse_json(read_file(path), path.string()));
    }
    const Spread accuracy = spread_of(summaries, "test_accuracy"), best = spread_of(summaries, "best_test_accuracy"),
                 loss = spread_of(summaries, "train_loss"), train_accuracy = spread_of(summaries, "train_accuracy"),
                 seconds = spread_of(summaries, "seconds");
    table.add_row({regime.name.empty() ? experiment.name : regime.name, format_spread(accuracy, 100, 2),
                   format_spread(best, 100, 2), format_spread(loss, 1, 4), format_spread(train_accuracy, 100, 2),
                   format_duration(seconds.mean)});
    rows.push_back(
        {{"regime", regime.name},
         {"test_accuracy", {{"mean", accuracy.mean}, {"standard_deviation", accuracy.deviation}}},
         {"best_test_accuracy", {{"mean", best.mean}, {"standard_deviation", best.deviation}}},
         {"train_loss", {{"mean", loss.mean}, {"standard_deviation", loss.deviation}}},
         {"train_accuracy", {{"mean", train_accuracy.mean}, {"standard_deviation", train_accuracy.deviation}}},
         {"seconds", seconds.mean},
         {"runs", summaries}});
  }
  const std::string title = fmt::format("{}: {} after training, {} seed{}", experiment.name,
                                        experiment.seeds.size() > 1 ? "mean ± standard deviation" : "result",
                                        experiment.seeds.size(), experiment.seeds.size() > 1 ? "s" : "");
  const std::string text = title + "\n" + table.text();
  write_file_atomically(request.folder / "table.txt", text);
  write_file_atomically(request.folder / "table.md", title + "\n\n" + table.markdown());
  write_file_atomically(request.folder / "table.json",
                        Json{{"name", experiment.name}, {"seeds", experiment.seeds}, {"rows", rows}}.dump(2) + "\n");
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
      const std::filesystem::path folder = run_folder(request, regime, seed);
      if (is_finished(folder)) continue;
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
