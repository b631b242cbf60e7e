// Runs a tuning and shows its results.
#include <noisysgd/apps/tuning.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include <noisysgd/apps/budget.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/suite.h>
#include <noisysgd/core/config.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/text_table.h>

namespace noisysgd {

namespace {

namespace fs = std::filesystem;

std::string label_of(const Tuning& tuning, const TunedRegime& regime) {
  return regime.name.empty() ? tuning.name() : regime.name;
}

Json without_machine(Json document) {
  for (const char* key : {"device", "threads"}) document.erase(key);
  return document;
}

// How a stored configuration differs. Another device or number of threads is still the same tuning.
std::vector<std::string> differences_from(const Json& stored, const Json& document) {
  return config_differences(without_machine(stored), without_machine(document));
}

// Throws Error if a file that the tuning will write is there and was not written by one.
void check_results(const fs::path& folder, const Tuning& tuning, bool tuned) {
  const auto check = [&](const char* file, const std::string& begin) {
    const std::optional<std::string> there = read_plain_file(folder / file);
    NSGD_CHECK(!there || (tuned && there->starts_with(begin)),
               "{}: is there, and this tuning did not write it; move it away, or use another --output",
               (folder / file).string());
  };
  check(tuning_markdown_file, tuning.name() + ": tuning on ");
  check(tuning_json_file, "{");
}

// Makes the folder of the tuning in that of the suite. Throws Error if the suite's folder holds something else, or the
// tuning of another configuration.
fs::path claim_folder(const TuningRequest& request, const Tuning& tuning) {
  make_folder(request.folder);
  const PathLock lock = PathLock::wait(request.folder);
  check_ours(request.folder, FolderOf::suite);
  const fs::path folder = request.folder / tuning_folder, document = folder / tuned_file;
  const std::optional<std::string> text = read_plain_file(document);
  check_results(folder, tuning, text.has_value());
  if (text) {
    const auto differences = differences_from(parse_json(*text, document.string()), request.document);
    NSGD_CHECK(differences.empty(),
               "{}: is of another configuration ({}); noisysgd-train {} --tune --resume continues it, another --output "
               "keeps it",
               document.string(), fmt::format("{}", fmt::join(differences, "; ")), request.folder.string());
    return folder;
  }
  NSGD_CHECK(!fs::exists(request.folder / experiment_file),
             "{}: holds runs that no tuning has made; --tune needs another --output", request.folder.string());
  make_folder(folder);
  write_file_atomically(document, request.document.dump(2) + "\n");
  return folder;
}

// The folders of the runs that have neither finished nor diverged.
std::vector<fs::path> unsettled(const Experiment& experiment, const fs::path& folder) {
  std::vector<fs::path> folders;
  for (const SuiteRun& run : suite_runs(experiment, folder))
    if (!is_settled(run.folder)) folders.push_back(run.folder);
  return folders;
}

// Waits until no other program is at work on a run: it has ended, or its program has.
void wait_for_others(const std::vector<fs::path>& runs) {
  for (const fs::path& run : runs)
    while (fs::exists(run / config_file) && !is_settled(run) && !PathLock::attempt(run / config_file))
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
}

// Trains what is left of a rung, together with other programs. False: interrupted.
bool train_rung(Context& context, const Experiment& experiment, const TuningRequest& request, const fs::path& folder) {
  while (true) {
    const bool settled = unsettled(experiment, folder).empty();
    // Without runs to train this only checks that those in the folder are of this configuration.
    const SuiteRequest suite{.experiment = experiment,
                             .extensions = request.extensions,
                             .folder = folder,
                             .progress = settled ? Progress::Mode::quiet : request.progress,
                             .only = {},
                             .interrupts = request.interrupts,
                             .work = request.work,
                             .trials = true};
    if (train_all(context, suite) == RunOutcome::interrupted) return false;
    const std::vector<fs::path> left = unsettled(experiment, folder);
    if (left.empty()) return true;
    Progress(request.progress, "").line(fmt::format("{}: waiting for another program", left.front().string()));
    wait_for_others(left);
  }
}

// Samples of the rungs after this one and of the protocol, each with its seeds.
double samples_after(const Tuning& tuning, size_t rung, const std::vector<int64_t>& images) {
  const double seeds = static_cast<double>(tuning.options.seeds.size());
  const double budget = tuning.head.value("budget", 1.0);
  const double protocol_seeds = tuning.head.contains("seeds") ? static_cast<double>(tuning.head["seeds"].size()) : 1;
  double samples = 0;
  for (size_t r = 0; r < std::min(tuning.regimes.size(), images.size()); ++r) {
    const TunedRegime& regime = tuning.regimes[r];
    const double held_out = static_cast<double>(images[r] - tuning.options.holdout);
    for (size_t later = rung + 1; later < tuning.rungs; ++later)
      samples += seeds * held_out * static_cast<double>(regime.count_in(later, tuning.options.halving)) *
                 static_cast<double>(tuning.epochs(regime, later));
    samples += protocol_seeds * static_cast<double>(images[r]) * static_cast<double>(epochs_at(regime.epochs, budget));
  }
  return samples;
}

void record_trials(Tuning& tuning, size_t number, const Rung& rung, const fs::path& folder) {
  const std::vector<RegimeResults> results = read_results(rung.experiment, suite_runs(rung.experiment, folder));
  for (size_t i = 0; i < results.size(); ++i) {
    std::vector<double> accuracies;
    for (const Json& summary : results[i].finished) accuracies.push_back(summary.at("holdout_accuracy").get<double>());
    const auto [regime, point] = rung.points[i];
    tuning.regimes[regime].points[point].trials[number] = {spread_of(accuracies), !results[i].diverged.empty()};
  }
}

// The paths of all points, in the order of the regimes.
std::vector<std::string> tuned_paths(const Tuning& tuning) {
  std::vector<std::string> paths;
  for (const TunedRegime& regime : tuning.regimes)
    for (const TunedPoint& point : regime.points)
      for (const Setting& setting : point.values) add_once(paths, setting.path);
  return paths;
}

std::string cell_of(const TunedPoint& point, const std::string& path) {
  for (const Setting& setting : point.values)
    if (setting.path == path) return value_text(setting.value);
  return "";
}

std::string result_text(const TunedPoint& point, size_t rung) {
  const auto trial = point.trials.find(rung);
  if (trial == point.trials.end()) return "";
  return trial->second.diverged ? "diverged" : trial->second.accuracy.text(100, 2);
}

std::string settings_text(const Point& point) {
  std::vector<std::string> parts;
  for (const Setting& setting : point) parts.push_back(fmt::format("{}={}", setting.path, value_text(setting.value)));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// "LB: 2 other points are as good (noise.scale=1; noise.scale=2); …", or empty.
std::string tie_of(const TunedRegime& regime) {
  const std::vector<size_t> ties = regime.ties();
  if (ties.empty()) return {};
  constexpr size_t shown = 3;
  std::vector<std::string> points;
  for (size_t i = 0; i < std::min(ties.size(), shown); ++i)
    points.push_back(settings_text(regime.points[ties[i]].values));
  if (ties.size() > shown) points.emplace_back("…");
  return fmt::format(
      "{} other point{} as good, so the first is chosen ({}); more seeds, a larger budget or more "
      "held-out images may tell them apart",
      ties.size(), ties.size() > 1 ? "s are" : " is", fmt::join(points, "; "));
}

// One sentence for each regime, one for ties, one for each value on the edge, and the notes.
std::vector<std::string> choices_of(const Tuning& tuning) {
  std::vector<std::string> sentences;
  for (const TunedRegime& regime : tuning.regimes) {
    const std::optional<size_t> best = regime.best();
    if (!best) continue;
    const TunedPoint& point = regime.points[*best];
    sentences.push_back(fmt::format("{}: {}, {} % of the held-out images", label_of(tuning, regime),
                                    settings_text(point.values), point.trials.rbegin()->second.accuracy.text(100, 2)));
    if (const std::string tie = tie_of(regime); !tie.empty())
      sentences.push_back(fmt::format("{}: {}", label_of(tuning, regime), tie));
    for (const std::string& edge : regime.edges())
      sentences.push_back(fmt::format("{}: {}", label_of(tuning, regime), edge));
  }
  sentences.insert(sentences.end(), tuning.notes.begin(), tuning.notes.end());
  return sentences;
}

Json json_of(const Point& point) {
  Json values = Json::object();
  for (const Setting& setting : point) values[setting.path] = setting.value;
  return values;
}

}  // namespace

std::string tuning_plan(const Tuning& tuning) {
  using enum TextTable::Align;
  TextTable table({"rung", "budget", "regime", "points", "epochs"}, {right, right, left, right, right});
  for (size_t rung = 0; rung < tuning.rungs; ++rung)
    for (const TunedRegime& regime : tuning.regimes) {
      const int64_t points = regime.count_in(rung, tuning.options.halving);
      if (points == 0) continue;
      table.add_row({std::to_string(rung + 1),
                     fmt::format("{:.3g}", tuning.head.value("budget", 1.0) * tuning.budget(rung)),
                     label_of(tuning, regime), std::to_string(points), std::to_string(tuning.epochs(regime, rung))});
    }
  std::string text = table.text();
  for (const TunedRegime& regime : tuning.regimes) {
    std::vector<std::string> paths;
    for (const TunedPoint& point : regime.points)
      for (const Setting& setting : point.values) add_once(paths, setting.path);
    for (const std::string& path : paths) {
      std::vector<std::string> values;
      for (const TunedPoint& point : regime.points) add_once(values, cell_of(point, path));
      text += fmt::format("{}: {}: {}\n", label_of(tuning, regime), path, fmt::join(values, ", "));
    }
  }
  for (const std::string& note : tuning.notes) text += note + "\n";
  return text;
}

std::string tuning_markdown(const Tuning& tuning) {
  std::string text = fmt::format("{}: tuning on {} images held out of the training set, seed{} {}\n\n", tuning.name(),
                                 tuning.options.holdout, tuning.options.seeds.size() > 1 ? "s" : "",
                                 fmt::join(tuning.options.seeds, ", "));
  const std::vector<std::string> paths = tuned_paths(tuning);
  std::vector<std::string> header{"regime"};
  for (const std::string& title : column_titles(paths)) header.push_back(title);
  for (size_t rung = 0; rung < tuning.rungs; ++rung)
    header.push_back(fmt::format("budget {:.3g}: %", tuning.head.value("budget", 1.0) * tuning.budget(rung)));
  header.emplace_back();
  TextTable table(header);
  for (const TunedRegime& regime : tuning.regimes)
    for (size_t i = 0; i < regime.points.size(); ++i) {
      std::vector<std::string> cells{label_of(tuning, regime)};
      for (const std::string& path : paths) cells.push_back(cell_of(regime.points[i], path));
      for (size_t rung = 0; rung < tuning.rungs; ++rung) cells.push_back(result_text(regime.points[i], rung));
      cells.emplace_back(regime.best() == i ? "best" : "");
      table.add_row(std::move(cells));
    }
  text += table.markdown() + "\n";
  for (const std::string& sentence : choices_of(tuning)) text += "* " + sentence + "\n";
  return text;
}

std::string tuning_choices(const Tuning& tuning) { return fmt::format("{}\n", fmt::join(choices_of(tuning), "\n")); }

Json tuning_json(const Tuning& tuning) {
  Json document{{"name", tuning.name()},         {"holdout", tuning.options.holdout},
                {"seeds", tuning.options.seeds}, {"halving", tuning.options.halving},
                {"budgets", Json::array()},      {"regimes", Json::array()}};
  if (!tuning.notes.empty()) document["notes"] = tuning.notes;
  for (size_t rung = 0; rung < tuning.rungs; ++rung)
    document["budgets"].push_back(tuning.head.value("budget", 1.0) * tuning.budget(rung));
  for (const TunedRegime& regime : tuning.regimes) {
    if (regime.points.empty()) continue;
    Json points = Json::array();
    for (const TunedPoint& point : regime.points) {
      Json trials = Json::array();
      for (const auto& [rung, trial] : point.trials) {
        Json entry{{"rung", rung + 1}, {"diverged", trial.diverged}};
        if (trial.accuracy.count > 0) entry["holdout_accuracy"] = trial.accuracy.json();
        trials.push_back(std::move(entry));
      }
      points.push_back({{"values", json_of(point.values)}, {"trials", std::move(trials)}});
    }
    const std::optional<size_t> best = regime.best();
    document["regimes"].push_back({{"regime", regime.name},
                                   {"points", std::move(points)},
                                   {"best", best ? json_of(regime.points[*best].values) : Json()},
                                   {"edges", regime.edges()}});
  }
  return document;
}

bool holds_tuning_of(const Json& document, const fs::path& suite) {
  const fs::path path = suite / tuning_folder / tuned_file;
  try {
    const std::optional<std::string> text = read_plain_file(path);
    return text && differences_from(parse_json(*text, path.string()), document).empty();
  } catch (const Error&) {
    return false;
  }
}

bool tune(Context& context, Tuning& tuning, const TuningRequest& request) {
  const fs::path folder = claim_folder(request, tuning);
  for (size_t number = 0; number < tuning.rungs; ++number) {
    const Rung rung = rung_of(tuning, number, request.extensions);
    if (request.work) request.work->set_later(samples_after(tuning, number, request.images));
    if (rung.points.empty()) continue;  // every point of an earlier rung has diverged
    const fs::path own = folder / fmt::format("{}{}", rung_prefix, number + 1);
    if (!train_rung(context, rung.experiment, request, own)) return false;
    record_trials(tuning, number, rung, own);
    write_file_if_new(folder / tuning_markdown_file, tuning_markdown(tuning));
    write_file_if_new(folder / tuning_json_file, tuning_json(tuning).dump(2) + "\n");
  }
  if (request.progress != Progress::Mode::quiet)
    print_out("\n{}written to {}\n", tuning_choices(tuning), folder.string());
  return true;
}

}  // namespace noisysgd
