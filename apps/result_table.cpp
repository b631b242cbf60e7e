#include <noisysgd/apps/result_table.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/apps/paired_difference.h>
#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/record.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/search.h>
#include <noisysgd/core/config_path.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/text_table.h>

namespace noisysgd {

namespace {

Spread spread_over(const std::vector<Json>& summaries, const std::string& key) {
  std::vector<double> values;
  for (const Json& summary : summaries) values.push_back(summary.at(key).get<double>());
  return spread_of(values);
}

// "NAME: mean ± standard deviation after training, 3 seeds; a trial at budget 0.1: 20 epochs; evaluated on 5000 images
// held out of the training set; 4 of 9 runs finished, 1 diverged"
std::string title_of(const Experiment& experiment, size_t finished, size_t diverged) {
  const size_t seeds = experiment.seeds.size(), runs = seeds * experiment.regimes.size();
  std::string title = fmt::format("{}: {} after training, {} seed{}", experiment.name,
                                  seeds > 1 ? "mean ± standard deviation" : "result", seeds, seeds > 1 ? "s" : "");
  const Regime& first = experiment.regimes.front();
  if (experiment.budget != 1)
    title +=
        fmt::format("; a trial at budget {:.3g}: {} epoch{}", experiment.budget, first.epochs, first.epochs > 1 ? "s" : "");
  if (first.data.dataset.selection().holdout > 0)
    title +=
        fmt::format("; evaluated on {} images held out of the training set", first.data.dataset.selection().holdout);
  if (finished < runs) title += fmt::format("; {} of {} runs finished", finished, runs);
  if (diverged > 0) title += fmt::format(", {} diverged", diverged);
  return title;
}

// "seed 2 at step 17"
std::string divergence_text(const std::vector<Json>& diverged) {
  std::vector<std::string> parts;
  for (const Json& run : diverged)
    parts.push_back(fmt::format("seed {} at step {}", run.at("seed").get<uint64_t>(), run.at("step").get<int64_t>()));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// Throws Error unless a file of a run's folder is of this run.
void check_identity_in(const SuiteRun& run, const char* file, const Json& document) {
  try {
    const Record record(document);
    record.equals("regime", run.regime.name);
    record.equals("seed", run.seed);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", (run.folder / file).string(), error.what()));
  }
}

// The values of a regime that the experiment's columns show, by their paths; those that it does not have are left out.
Json values_of(const Regime& regime, const std::vector<std::string>& columns) {
  Json values = Json::object();
  for (const std::string& path : columns)
    if (const Json* value = find_value(regime.effective, path)) values[path] = *value;
  return values;
}

constexpr size_t most_compared = 8;  // regimes in the table of differences; table.json has more

struct Differences {
  std::string text, markdown;  // empty for more than most_compared
  Json rows = Json::array();
};

// Compares every regime with the experiment's first, if they have the same data.
Differences differences_from_first(const Experiment& experiment, const std::vector<RegimeResults>& results) {
  const std::string set = experiment.regimes.front().data.evaluated_set();
  std::vector<SeedResults> accuracies;
  for (const RegimeResults& result : results) {
    SeedResults& of_regime = accuracies.emplace_back();
    for (const Json& summary : result.finished)
      of_regime[summary.at("seed").get<uint64_t>()] = summary.at(set + "_accuracy").get<double>();
  }
  using enum TextTable::Align;
  TextTable table({"regime", "difference", "95 % interval", "seeds", "accuracy is"}, {left, right, right, right, left});
  Differences found;
  for (size_t i = 1; i < results.size(); ++i) {
    const PairedDifference pair = paired_difference(accuracies[i], accuracies[0]);
    const bool same_data =
        experiment.regimes[i].effective.at("data") == experiment.regimes[0].effective.at("data");
    if (!pair.half_width || !same_data) continue;
    const auto& [mean, deviation, seeds] = pair.difference;
    const std::string& name = experiment.regimes[i].name;
    table.add_row(
        {name, pair.mean_text(100, 2), pair.interval_text(100, 2), fmt::format("{}", seeds), pair.verdict()});
    found.rows.push_back({{"regime", name},
                          {"mean", mean},
                          {"interval_95", {mean - *pair.half_width, mean + *pair.half_width}},
                          {"seeds", seeds},
                          {"verdict", pair.verdict()}});
  }
  if (found.rows.empty() || found.rows.size() > most_compared) return found;
  const std::string title = fmt::format("\nDifference from {} in {} accuracy, percentage points, over common seeds\n",
                                        experiment.regimes.front().name, set);
  found.text = title + table.text();
  found.markdown = title + "\n" + table.markdown();
  return found;
}

WrittenTable write_once(const Experiment& experiment, const std::vector<RegimeResults>& results,
                        const std::filesystem::path& folder) {
  const std::vector<Regime>& regimes = experiment.regimes;
  const std::string evaluated = regimes.front().data.evaluated_set();
  const bool published =
      std::any_of(regimes.begin(), regimes.end(), [](const Regime& regime) { return regime.expected_accuracy; });
  size_t finished = 0, diverged = 0;
  for (const RegimeResults& result : results) {
    finished += result.finished.size();
    diverged += result.diverged.size();
  }

  const bool with_values = !experiment.columns.empty();
  std::vector<std::string> header{"regime"};
  for (const std::string& title : column_titles(experiment.columns)) header.push_back(title);
  if (published) header.push_back("paper %");
  header.push_back(evaluated + " accuracy %");
  if (!with_values) header.push_back("best %");
  header.push_back("train loss");
  if (!with_values) header.insert(header.end(), {"train accuracy %", "time"});
  if (diverged > 0) header.push_back("diverged");
  TextTable table(header);
  Json rows = Json::array();
  for (size_t i = 0; i < regimes.size(); ++i) {
    const Regime& regime = regimes[i];
    const std::vector<Json>& summaries = results[i].finished;
    if (summaries.empty() && results[i].diverged.empty()) continue;
    const std::string accuracy_key = evaluated + "_accuracy", best_key = "best_" + accuracy_key;
    const Spread accuracy = spread_over(summaries, accuracy_key), best = spread_over(summaries, best_key),
                 loss = spread_over(summaries, "train_loss"), train_accuracy = spread_over(summaries, "train_accuracy"),
                 seconds = spread_over(summaries, "seconds");
    std::vector<std::string> cells{regime.name.empty() ? experiment.name : regime.name};
    const Json values = values_of(regime, experiment.columns);
    for (const std::string& path : experiment.columns)
      cells.push_back(values.contains(path) ? value_text(values.at(path)) : "");
    if (published) cells.push_back(regime.expected_accuracy ? fmt::format("{:.2f}", *regime.expected_accuracy) : "");
    cells.push_back(accuracy.text(100, 2));
    if (!with_values) cells.push_back(best.text(100, 2));
    cells.push_back(loss.loss_text());
    if (!with_values)
      cells.insert(cells.end(),
                   {train_accuracy.text(100, 2), summaries.empty() ? "" : format_duration(seconds.mean)});
    if (diverged > 0) cells.push_back(divergence_text(results[i].diverged));
    table.add_row(cells);

    Json row{{"regime", regime.name}};
    if (with_values) row["values"] = values;
    if (!summaries.empty())
      row.update({{accuracy_key, accuracy.json()},
                  {best_key, best.json()},
                  {"train_loss", loss.json()},
                  {"train_accuracy", train_accuracy.json()},
                  {"seconds", seconds.mean}});
    row["runs"] = summaries;
    row["diverged"] = results[i].diverged;
    if (regime.expected_accuracy) row["published_test_accuracy"] = *regime.expected_accuracy / 100;
    rows.push_back(std::move(row));
  }

  const std::string title = title_of(experiment, finished, diverged);
  const Differences differences = differences_from_first(experiment, results);
  Json document{{"name", experiment.name}, {"seeds", experiment.seeds}, {"budget", experiment.budget}, {"rows", rows}};
  if (!differences.rows.empty())
    document["differences"] = {
        {"from", regimes.front().name}, {"of", evaluated + "_accuracy"}, {"rows", differences.rows}};
  WrittenTable written{title + "\n" + table.text() + differences.text, ""};
  try {
    // The table of a finished suite can be shown where nothing can be written.
    write_file_if_new(folder / table_text_file, written.text);
    write_file_if_new(folder / table_markdown_file, title + "\n\n" + table.markdown() + differences.markdown);
    write_file_if_new(folder / table_json_file, document.dump(2) + "\n");
  } catch (const Error& error) {
    written.unwritten = error.what();
  }
  return written;
}

}  // namespace

std::vector<RegimeResults> read_results(const Experiment& experiment, const std::vector<SuiteRun>& runs) {
  std::vector<RegimeResults> results(experiment.regimes.size());
  for (const SuiteRun& run : runs) {
    RegimeResults& of_regime = results.at(static_cast<size_t>(&run.regime - experiment.regimes.data()));
    if (auto summary = run_summary(run.folder)) {
      check_summary(run.folder, run.regime.data.evaluated_set(), *summary);
      check_identity_in(run, summary_file, *summary);
      of_regime.finished.push_back(std::move(*summary));
    } else if (auto divergence = run_divergence(run.folder)) {
      check_divergence(run.folder, *divergence);
      check_identity_in(run, divergence_file, *divergence);
      of_regime.diverged.push_back(std::move(*divergence));
    }
  }
  return results;
}

WrittenTable write_result_table(const Experiment& experiment, const std::function<std::vector<RegimeResults>()>& read,
                                const std::filesystem::path& folder) {
  for (auto results = read();;) {
    WrittenTable written = write_once(experiment, results, folder);
    auto now = read();
    if (now == results) return written;
    results = std::move(now);
  }
}

}  // namespace noisysgd
