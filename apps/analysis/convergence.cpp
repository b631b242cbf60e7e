#include <noisysgd/apps/analysis/convergence.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <span>

#include <noisysgd/apps/analysis/over_seeds.h>
#include <noisysgd/apps/record.h>
#include <noisysgd/apps/run_folder.h>

namespace noisysgd {

namespace {

// Calls visit(lines) with every `window` consecutive lines; those that are left over have no point.
template <class Visit>
void for_each_window(const std::vector<Json>& lines, int64_t window, const Visit& visit) {
  const auto size = static_cast<size_t>(window);
  for (size_t begin = 0; begin + size <= lines.size(); begin += size)
    visit(std::span<const Json>(lines).subspan(begin, size));
}

double mean_of(std::span<const Json> lines, const char* key) {
  double sum = 0;
  for (const Json& line : lines) sum += Record(line).number(key);
  return sum / static_cast<double>(lines.size());
}

int64_t read_window(const ConfigReader& json, int64_t default_value) {
  return json.integer("window", {.default_value = default_value, .at_least = 1, .at_most = 1'000'000});
}

// One panel's series, regime after regime.
class Courses {
 public:
  OverSeeds& of(const std::string& name) {
    if (courses_.empty() || courses_.back().first != name) courses_.push_back({name, {}});
    return courses_.back().second;
  }
  const std::vector<std::pair<std::string, OverSeeds>>& all() const { return courses_; }
  void into(Panel& panel) const {
    for (const auto& [name, course] : courses_)
      if (!course.empty()) panel.series.push_back(course.series(name));
  }

 private:
  std::vector<std::pair<std::string, OverSeeds>> courses_;
};

// The first place where a course is as low as this; NaN: nowhere.
double first_at_most(const Series& series, double level) {
  for (size_t i = 0; i < series.x.size(); ++i)
    if (series.y[i] <= level) return series.x[i];
  return NAN;
}

}  // namespace

std::vector<Json> training_lines(const std::filesystem::path& folder, const std::vector<std::string>& keys) {
  const std::string path = (folder / metrics_file).string();
  std::ifstream file(path);
  NSGD_CHECK(file, "{}: cannot be read", path);
  std::vector<Json> lines;
  int64_t number = 0;
  for (std::string text; std::getline(file, text);) {
    const std::string place = fmt::format("{}, line {}", path, ++number);
    Json line = parse_json(text, place);
    if (!line.is_object() || line.value("split", Json()) != "train") continue;
    for (const std::string& key : keys)
      NSGD_CHECK(line.contains(key) && (line[key].is_number() || line[key].is_null()), "{}: \"{}\" is {}", place, key,
                 line.contains(key) ? "no number" : "missing");
    // A number that was not finite is logged as null.
    const bool whole = std::none_of(keys.begin(), keys.end(), [&](const auto& key) { return line[key].is_null(); });
    if (whole) lines.push_back(std::move(line));
  }
  return lines;
}

namespace {

// The same, at least one window of them. Otherwise a problem says so and nothing is returned.
std::vector<Json> lines_of_window(const SuiteRun& run, const std::vector<std::string>& keys, int64_t window,
                                  AnalysisOutput& output) {
  std::vector<Json> lines = training_lines(run.folder, keys);
  if (std::ssize(lines) >= window) return lines;
  output.problem(fmt::format("{}: is not shown: its log has {} lines with {} and a point needs {} (analysis.window); "
                             "logging.every_steps sets how many are logged",
                             label_of(run), lines.size(), keys.back(), window));
  return {};
}

}  // namespace

std::unique_ptr<Analysis> Convergence::read(const AnalysisInput& input) {
  std::unique_ptr<Convergence> analysis(new Convergence(AnalysedRuns::read(input)));
  analysis->window_ = read_window(input.json, 1);
  analysis->errors_ = input.json.numbers(
      "errors", {.default_value = std::vector<double>{0.5, 0.3, 0.2, 0.1}, .each = {.above = 0, .at_most = 1}});
  return analysis;
}

void Convergence::run(AnalysisOutput& output) {
  Courses errors, losses;
  for (const SuiteRun& run : runs_.make(output)) {
    OverSeeds &error = errors.of(label_of(run.regime)), &loss = losses.of(label_of(run.regime));
    const std::vector<Json> lines = lines_of_window(run, {"step", "accuracy", "loss"}, window_, output);
    for_each_window(lines, window_, [&](std::span<const Json> window) {
      const double step = Record(window.back()).number("step");
      error.add(step, 1 - mean_of(window, "accuracy"));
      loss.add(step, mean_of(window, "loss"));
    });
  }
  Figure figure{.title = "Training error per parameter update",
                .panels = {{"", {"parameter updates"}, {"training error"}, {}},
                           {"", {"parameter updates"}, {"training loss", "", true}, {}}}};
  errors.into(figure.panels[0]);
  losses.into(figure.panels[1]);
  for (const Series& series : figure.panels[0].series) {
    if (series.x.empty()) continue;
    output.number(fmt::format("{}: training error after {} updates", series.name, series.x.back()), series.y.back());
    for (const double level : errors_)
      output.number(fmt::format("{}: updates to a training error of {}", series.name, level),
                    first_at_most(series, level));
  }
  output.figure("convergence", figure);
}

std::unique_ptr<Analysis> NoiseScaleCourse::read(const AnalysisInput& input) {
  std::unique_ptr<NoiseScaleCourse> analysis(new NoiseScaleCourse(AnalysedRuns::read(input)));
  analysis->window_ = read_window(input.json, 10);
  for (const Regime& regime : analysis->runs_.experiment().regimes)
    if (!regime.effective.at("logging").value("noise_scale", false)) {
      input.json.error("type", fmt::format("\"noise_scale\" reads logs of logging.noise_scale, which {} does not have",
                                           regime.name.empty() ? "the experiment" : "regime " + regime.name));
      break;
    }
  return analysis;
}

void NoiseScaleCourse::run(AnalysisOutput& output) {
  Courses variances, scales;
  for (const SuiteRun& run : runs_.make(output)) {
    OverSeeds &variance = variances.of(label_of(run.regime)), &scale = scales.of(label_of(run.regime));
    // A batch of one sample has no variance: null.
    const std::vector<Json> lines =
        lines_of_window(run, {"step", "expected_gradient_squared", "gradient_variance"}, window_, output);
    for_each_window(lines, window_, [&](std::span<const Json> window) {
      const double step = Record(window.back()).number("step"), trace = mean_of(window, "gradient_variance");
      const double squared = mean_of(window, "expected_gradient_squared");
      variance.add(step, trace);
      scale.add(step, squared > 0 ? trace / squared : NAN);
    });
  }
  Figure figure{.title = "Gradient noise scale",
                .panels = {{"", {"parameter updates"}, {"variance of gradients", "", true}, {}},
                           {"", {"parameter updates"}, {"noise scale", "samples", true}, {}}}};
  variances.into(figure.panels[0]);
  scales.into(figure.panels[1]);
  for (const Series& series : figure.panels[1].series)
    if (!series.y.empty()) {
      output.number(fmt::format("{}: noise scale at the start", series.name), series.y.front());
      output.number(fmt::format("{}: noise scale in the end", series.name), series.y.back());
    }
  output.figure("noise_scale", figure);
}

}  // namespace noisysgd
