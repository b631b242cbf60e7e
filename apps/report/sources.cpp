#include <noisysgd/apps/report/sources.h>

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

struct Found {
  std::vector<fs::path> runs, suites, analyses;

  bool empty() const { return runs.empty() && suites.empty() && analyses.empty(); }
};

// The names of a suite's regimes and its seeds, as far as its configuration can be read. Types of layers, noises and so
// on are not checked: another program may have added them.
struct SuiteDocument {
  std::vector<std::string> regimes;
  std::vector<uint64_t> seeds;
};

SuiteDocument suite_document(const fs::path& folder) {
  SuiteDocument suite;
  const std::string path = (folder / experiment_file).string();
  const std::optional<std::string> text = read_plain_file(path);
  if (!text) return suite;
  const Json document = parse_json(*text, path);
  NSGD_CHECK(document.is_object(), "{}: expected an object", path);
  if (document.contains("regimes") && document["regimes"].is_array()) {
    for (const Json& regime : document["regimes"])
      if (regime.is_object() && regime.contains("name") && regime["name"].is_string())
        suite.regimes.push_back(regime["name"]);
  } else {
    suite.regimes.emplace_back();
  }
  if (document.contains("seeds") && document["seeds"].is_array()) {
    for (const Json& seed : document["seeds"])
      if (seed.is_number_unsigned()) suite.seeds.push_back(seed);
  } else {
    const Json seed = document.value("seed", Json(1u));
    NSGD_CHECK(seed.is_number_unsigned(), "{}: \"seed\" is {}, expected a whole number", path, seed.dump());
    suite.seeds.push_back(seed);
  }
  return suite;
}

std::string run_text(const std::string& regime, uint64_t seed) {
  return regime.empty() ? fmt::format("seed {}", seed) : fmt::format("{} seed {}", regime, seed);
}

class Reader {
 public:
  ReportSources read(const std::vector<fs::path>& folders) {
    for (const fs::path& folder : folders) noting([&] { add(folder); });
    for (RunGroup& group : result_.groups)
      std::stable_sort(group.runs.begin(), group.runs.end(),
                       [](const LoggedRun& a, const LoggedRun& b) { return a.seed < b.seed; });
    label_groups();
    return std::move(result_);
  }

 private:
  template <class Action>
  void noting(const Action& action) {
    try {
      action();
    } catch (const fs::filesystem_error& error) {
      result_.problems.push_back(fmt::format("{}: {}", error.path1().string(), error.code().message()));
    } catch (const std::exception& error) {
      const std::string problem = error.what();  // a damaged file may be read twice
      if (std::ranges::find(result_.problems, problem) == result_.problems.end()) result_.problems.push_back(problem);
    }
  }

  bool is_new(const fs::path& folder) { return read_.insert(fs::weakly_canonical(folder)).second; }

  void add(const fs::path& given) {
    const fs::path folder = given.has_filename() ? given : given.parent_path();  // without a slash at the end
    NSGD_CHECK(fs::exists(folder), "{}: does not exist", folder.string());
    NSGD_CHECK(fs::is_directory(folder), "{}: is not a folder; expected the folder of a run, a suite or an analysis",
               folder.string());
    Found found;
    walk(folder, found);
    NSGD_CHECK(!found.empty(), "{}: holds no run, no suite and no analysis", folder.string());
    std::vector<std::pair<fs::path, std::vector<RunGroup>>> by_suite;
    for (const fs::path& run : found.runs)
      if (is_new(run))
        noting([&] {
          const fs::path suite = suite_of(run);
          if (by_suite.empty() || by_suite.back().first != suite) by_suite.push_back({suite, {}});
          add_run(by_suite.back().second, suite, read_logged_run(run));
        });
    for (auto& [suite, groups] : by_suite) {
      noting([&] { sort_as(suite_document(suite), groups); });
      for (RunGroup& group : groups) merge(std::move(group));
    }
    for (const fs::path& suite : found.suites)
      if (suites_.insert(fs::weakly_canonical(suite)).second) noting([&] { note_missing(suite); });
    for (const fs::path& analysis : found.analyses)
      if (is_new(analysis)) noting([&] { add_analysis(analysis); });
  }

  // Finds runs, suites and analyses in a folder and below it, in the order of their paths. Links are not followed.
  void walk(const fs::path& folder, Found& found) {
    const auto holds = [&](const char* file) { return fs::exists(fs::symlink_status(folder / file)); };
    std::vector<fs::path> below;
    noting([&] {
      if (holds(config_file)) found.runs.push_back(folder);
      if (holds(experiment_file)) found.suites.push_back(folder);
      if (holds(analysis_file)) found.analyses.push_back(folder);
      for (const auto& entry : fs::directory_iterator(folder))
        if (!entry.is_symlink() && entry.is_directory()) below.push_back(entry.path());
    });
    std::sort(below.begin(), below.end());
    for (const fs::path& inner : below) walk(inner, found);
  }

  // The folder of the suite that a run is in, OUTPUT of OUTPUT/REGIME/seed-S; the run's own folder if it is in none.
  static fs::path suite_of(const fs::path& run) {
    fs::path folder = fs::weakly_canonical(run);
    for (int level = 0; level < 3; ++level, folder = folder.parent_path())
      if (fs::exists(folder / experiment_file)) return folder;
    return fs::weakly_canonical(run);
  }

  void add_run(std::vector<RunGroup>& groups, const fs::path& suite, LoggedRun run) {
    result_.problems.insert(result_.problems.end(), run.problems.begin(), run.problems.end());
    const auto place =
        std::find_if(groups.begin(), groups.end(), [&](const RunGroup& group) { return belongs(group, run); });
    if (place != groups.end())
      place->runs.push_back(std::move(run));
    else
      groups.push_back({"", suite, {std::move(run)}});
  }

  static bool belongs(const RunGroup& group, const LoggedRun& run) {
    return group.runs[0].regime == run.regime && group.runs[0].config == run.config &&
           std::none_of(group.runs.begin(), group.runs.end(),
                        [&](const LoggedRun& other) { return other.seed == run.seed; });
  }

  static void sort_as(const SuiteDocument& suite, std::vector<RunGroup>& groups) {
    const auto place = [&](const RunGroup& group) {
      return std::find(suite.regimes.begin(), suite.regimes.end(), group.runs[0].regime) - suite.regimes.begin();
    };
    std::stable_sort(groups.begin(), groups.end(),
                     [&](const RunGroup& a, const RunGroup& b) { return place(a) < place(b); });
  }

  void note_missing(const fs::path& folder) {
    const SuiteDocument suite = suite_document(folder);
    const std::optional<RunName> here = fs::exists(folder / config_file) ? run_in(folder) : std::nullopt;
    for (const std::string& regime : suite.regimes)
      for (const uint64_t seed : suite.seeds)
        if (here != RunName{regime, seed} && !fs::exists(folder / regime / fmt::format("seed-{}", seed) / config_file))
          result_.missing.push_back(fmt::format("{}: {}", folder.string(), run_text(regime, seed)));
  }

  // Runs of one configuration that were made into several folders are one group, if their seeds differ.
  void merge(RunGroup group) {
    for (RunGroup& other : result_.groups) {
      const bool one =
          std::all_of(group.runs.begin(), group.runs.end(), [&](const LoggedRun& run) { return belongs(other, run); });
      if (!one) continue;
      std::move(group.runs.begin(), group.runs.end(), std::back_inserter(other.runs));
      return;
    }
    result_.groups.push_back(std::move(group));
  }

  void add_analysis(const fs::path& folder) {
    const std::string path = (folder / analysis_file).string();
    Json record = parse_json(read_plain_file(path).value_or(""), path);
    NSGD_CHECK(record.is_object() && record.value("figures", Json::array()).is_array() &&
                   record.value("numbers", Json::object()).is_object(),
               "{}: is not as noisysgd-analyze writes it: expected an object with \"figures\" and \"numbers\"", path);
    result_.analyses.push_back({folder, std::move(record)});
  }

  // The regime; where it is not unique, the folder before it; where that is not unique either, a number after it.
  void label_groups() {
    for (RunGroup& group : result_.groups)
      group.label = group.runs[0].regime.empty() ? suite_name(group.suite) : group.runs[0].regime;
    const auto count = [&](const std::string& label) {
      return std::count_if(result_.groups.begin(), result_.groups.end(),
                           [&](const RunGroup& group) { return group.label == label; });
    };
    std::vector<std::string> labels;
    for (const RunGroup& group : result_.groups)
      labels.push_back(count(group.label) > 1 && !group.runs[0].regime.empty()
                           ? fmt::format("{}/{}", suite_name(group.suite), group.label)
                           : group.label);
    std::set<std::string> used;
    for (size_t i = 0; i < labels.size(); ++i) {
      std::string label = labels[i];
      for (int n = 2; !used.insert(label).second; ++n) label = fmt::format("{} ({})", labels[i], n);
      result_.groups[i].label = label;
    }
  }

  ReportSources result_;
  std::set<fs::path> read_, suites_;
};

}  // namespace

std::string suite_name(const fs::path& suite) {
  const bool of_analysis = suite.filename() == analysed_runs_folder && suite.parent_path().has_filename();
  return (of_analysis ? suite.parent_path() : suite).filename().string();
}

ReportSources read_sources(const std::vector<fs::path>& folders) { return Reader().read(folders); }

}  // namespace noisysgd
