// What a tuning trains: reading its configuration, its points and rungs.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

#include <noisysgd/apps/budget.h>
#include <noisysgd/apps/tuning.h>
#include <noisysgd/core/config_path.h>
#include <noisysgd/core/config_schema.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd {

namespace {

constexpr const char *trials_key = "trials", *range_key = "log_uniform";

// The values of a path: a list, or a range from which values are drawn.
struct Choice {
  SearchAxis axis;
  std::vector<double> range;
  bool integers = false;  // a range of a key that wants integers

  Json draw(uint32_t word) const {
    if (range.empty()) return axis.values[below_from_word(word, static_cast<uint32_t>(axis.values.size()))];
    const double low = std::log(range[0]), high = std::log(range[1]);
    const double value = std::exp(low + (high - low) * static_cast<double>(uniform_from_word(word)));
    if (integers)
      return std::clamp(std::llround(value), std::llround(std::ceil(range[0])), std::llround(std::floor(range[1])));
    return std::clamp(std::stod(fmt::format("{:.3g}", value)), range[0], range[1]);
  }
};

// True if the key of a path wants an integer: tells by trying a number that is none.
using WantsInteger = std::function<bool(const std::string& path, double number)>;

Choice read_choice(const ConfigReader& tune, const std::string& path, const Json& value,
                   const WantsInteger& wants_integer) {
  Choice choice{{path, {}}, {}};
  if (value.is_object()) {
    const ConfigReader range = tune.object(path);
    choice.range = range.numbers(range_key, {.length = {2, 2}, .each = {.above = 0}});
    const bool as_given = value.contains(range_key) && value.at(range_key) == Json(choice.range);
    if (as_given && choice.range[0] >= choice.range[1])
      range.error(range_key, fmt::format("begins at {} and ends at {}; expected a range [a, b] with a < b",
                                         choice.range[0], choice.range[1]));
    else if (as_given)
      choice.integers = wants_integer(path, (choice.range[0] + choice.range[1]) / 2 + 1.0 / 64);
    if (choice.integers && std::ceil(choice.range[0]) > std::floor(choice.range[1]))
      range.error(range_key, fmt::format("has no whole number from {} to {}, and the key wants one", choice.range[0],
                                         choice.range[1]));
    return choice;
  }
  choice.axis.values = tune.any(path, Json::array()).get<std::vector<Json>>();
  const std::vector<Json>& values = choice.axis.values;
  if (values.empty()) tune.error(path, "is an empty list; expected values to choose from");
  for (auto entry = values.begin(); entry != values.end(); ++entry) {
    if (entry->is_structured() || entry->is_null())
      tune.error(path, fmt::format("has {} among its values; expected numbers, texts, true or false", entry->dump()));
    if (std::find(values.begin(), entry, *entry) != entry)
      tune.error(path, fmt::format("has the value {} twice", entry->dump()));
  }
  return choice;
}

struct Choices {
  std::vector<Choice> choices;
  std::optional<int64_t> trials;
};

Choices read_choices(const ConfigReader& tune, const Json& entries, const WantsInteger& wants_integer) {
  Choices result;
  for (const auto& [path, value] : entries.items()) {
    if (is_comment(path)) continue;
    if (path == trials_key) {
      result.trials = tune.integer(trials_key, {.at_least = 1, .at_most = most_points});
    } else if (value.is_array() || value.is_object()) {
      result.choices.push_back(read_choice(tune, path, value, wants_integer));
    } else {
      tune.any(path, nullptr);
      tune.error(path, fmt::format("is {}; expected a list of values or {{\"{}\": [a, b]}}", value.dump(), range_key));
    }
  }
  return result;
}

// Of a regime's "tune".
struct Points {
  std::vector<Point> points;
  std::set<std::string> drawn;  // paths with a range
};

// Trial t draws word t of a stream for each of the paths.
Points read_points(const Json& tune, const std::string& place, uint64_t seed, const WantsInteger& wants_integer) {
  const Config config(Json{{"tune", tune}}, place);
  const ConfigReader reader = config.root().object("tune");
  const auto [choices, trials] = read_choices(reader, tune.is_object() ? tune : Json::object(), wants_integer);
  if (choices.empty() && tune.is_object() && !config.has_problems())
    config.root().error("tune", "names no value to choose, such as \"optimizer.learning_rate\": [0.05, 0.1]");
  const auto ranged = std::find_if(choices.begin(), choices.end(), [](const Choice& c) { return !c.range.empty(); });
  if (ranged != choices.end() && !trials)
    reader.error(ranged->axis.path,
                 fmt::format("is a range, so tune.{} must say how many points are drawn", trials_key));
  config.finish();

  if (!trials) {
    std::vector<SearchAxis> axes;
    for (const Choice& choice : choices) axes.push_back(choice.axis);
    try {
      return {product_of(axes), {}};
    } catch (const Error& error) {
      throw ConfigError(place, {fmt::format("$.tune: {}", error.what())});
    }
  }
  Points result;
  for (const Choice& choice : choices)
    if (!choice.range.empty()) result.drawn.insert(choice.axis.path);
  for (uint64_t trial = 0; trial < static_cast<uint64_t>(*trials); ++trial) {
    Point point;
    for (uint32_t i = 0; i < choices.size(); ++i) {
      const RandomStream stream{.seed = seed, .step = {}, .tensor = i, .purpose = RandomPurpose::tuning};
      point.push_back({choices[i].axis.path, choices[i].draw(random_word(stream, trial))});
    }
    if (std::find(result.points.begin(), result.points.end(), point) == result.points.end())
      result.points.push_back(std::move(point));
  }
  return result;
}

TuningOptions read_tuning_keys(const ConfigReader& reader) {
  TuningOptions options;
  options.holdout = reader.integer("holdout", {.at_least = 1});
  options.budget = reader.number("budget", {.default_value = options.budget, .above = 0, .at_most = 1});
  options.halving = reader.integer("halving", {.default_value = options.halving, .at_least = 2});
  options.seeds.clear();
  const IntegerRule seed{.at_least = 0, .at_most = INT64_MAX};
  const IntegerListRule seeds{
      .default_value = std::vector<int64_t>{1}, .length = {.at_least = 1}, .each = seed, .distinct = true};
  for (const int64_t s : reader.integers("seeds", seeds)) options.seeds.push_back(static_cast<uint64_t>(s));
  return options;
}

TuningOptions read_options(const Json& tuning, const std::string& origin) {
  const Config config(Json{{"tuning", tuning}}, origin);
  TuningOptions options = read_tuning_keys(config.root().object("tuning"));
  config.finish();
  return options;
}

int64_t divided_up(int64_t count, int64_t by) { return (count + by - 1) / by; }

double rung_budget(const TuningOptions& options, size_t rungs_after) {
  return options.budget / std::pow(static_cast<double>(options.halving), static_cast<double>(rungs_after));
}

// As many as leave two points or more for the last, and a shorter one only if it has fewer epochs. budget: of the
// protocol, for a trial.
size_t rungs_for(size_t points, int64_t epochs, double budget, const TuningOptions& options) {
  size_t rungs = 1;
  const auto epochs_of = [&](size_t after) { return epochs_at(epochs, budget * rung_budget(options, after)); };
  for (auto left = divided_up(static_cast<int64_t>(points), options.halving);
       left >= 2 && epochs_of(rungs) < epochs_of(rungs - 1); left = divided_up(left, options.halving))
    ++rungs;
  return rungs;
}

std::string place_of(const std::string& origin, const std::string& regime) {
  return regime.empty() ? origin : fmt::format("{}: regime \"{}\"", origin, regime);
}

void check_holdout(const Json& regime, const std::string& origin) {
  const Json* holdout = find_value(regime, "data.holdout");
  if (holdout && *holdout != 0)
    throw ConfigError(origin, {"$.data.holdout: must be 0 with --tune: tuning.holdout images are held out to "
                               "choose, and the protocol then trains on all training images"});
}

// Of a regime. Its other problems are found when its points are read.
WantsInteger wants_integer_in(const Json& regime, const Extensions& extensions) {
  return [regime, &extensions](const std::string& path, double number) {
    const std::string problem = fmt::format("expected an integer, got {}", Json(number).dump());
    try {
      read_experiment(with_values(regime, {{path, number}}), "", extensions);
    } catch (const ConfigError& error) {
      return std::ranges::any_of(error.problems(), [&](const std::string& p) { return p.ends_with(problem); });
    }
    return false;
  };
}

// The problem of a value that "tune" gives, at its place there; others are returned unchanged.
std::string placed_in_tune(const std::string& problem, const TunedRegime& regime) {
  const size_t begin = problem.find("$."), end = problem.find(": ", std::min(begin, problem.size()));
  if (begin == problem.npos || end == problem.npos || regime.points.empty()) return problem;
  const bool of_another = begin > 0 && problem.find(fmt::format("\"{}\"", regime.name)) >= begin;  // regime "A": $.…
  if (of_another) return problem;
  const std::string where = problem.substr(begin, end - begin), what = problem.substr(end + 2);
  for (const Setting& setting : regime.points.front().values) {
    const std::string path = (setting.path.starts_with("$.") ? "" : "$.") + setting.path;
    const bool above = path.starts_with(where + ".") && what.starts_with("unknown key");
    const bool below = where.starts_with(path + ".") || where.starts_with(path + "[");
    if (path != where && !above && !below) continue;
    return fmt::format("{}{}: {}{}", problem.substr(0, begin), json_member_path("$.tune", setting.path),
                       path == where ? "" : where.substr(2) + ": ", what);
  }
  return problem;
}

// Problems of all regimes and points, each once.
class Problems {
 public:
  explicit Problems(const Tuning& tuning) : tuning_(tuning) {}

  // Adds those of `read`, which reads one regime; null: all of them.
  template <class Read>
  void note(const TunedRegime* of, const Read& read) {
    try {
      read();
    } catch (const ConfigError& error) {
      for (std::string problem : error.problems()) {
        for (const TunedRegime& regime : tuning_.regimes)
          if (!of || of == &regime) problem = placed_in_tune(problem, regime);
        add(of ? of->name : "", problem);
      }
    }
  }

  void check() const {
    if (!problems_.empty()) throw ConfigError(tuning_.origin, problems_);
  }

 private:
  void add(const std::string& regime, const std::string& problem) {
    const std::string text = regime.empty() ? problem : fmt::format("regime \"{}\": {}", regime, problem);
    const bool known = std::ranges::any_of(problems_, [&](const std::string& other) {
      const bool of_this = regime.empty() || other.find(fmt::format("\"{}\"", regime)) != other.npos;
      return other == problem || (of_this && other.ends_with(problem));  // of all regimes, or of this and others
    });
    if (!known && problems_.size() < 100) problems_.push_back(text);
  }

  const Tuning& tuning_;
  std::vector<std::string> problems_;
};

// Notes the problems of a regime's points. Returns the epochs of the first, without a budget.
int64_t check_points(const Tuning& tuning, const TunedRegime& regime, const Extensions& extensions,
                     Problems& problems) {
  int64_t epochs = 0;
  for (const TunedPoint& point : regime.points)
    problems.note(&regime, [&] {
      const Json document = with_values(regime.document, point.values);
      const int64_t own = read_experiment(document, tuning.origin, extensions).regimes.front().epochs;
      if (epochs == 0) epochs = own;
    });
  return epochs;
}

Json document_with(const Tuning& tuning, const std::function<size_t(const TunedRegime&)>& choose) {
  SplitDocument result{tuning.head, {}};
  std::vector<std::string> columns;
  for (const TunedRegime& regime : tuning.regimes) {
    const Point chosen = regime.points.empty() ? Point{} : regime.points[choose(regime)].values;
    result.regimes.push_back({regime.name, with_values(regime.document, chosen)});
    for (const Setting& setting : chosen) add_once(columns, setting.path);
  }
  result.head["columns"] = columns;
  return result.joined();
}

}  // namespace

int64_t TunedRegime::count_in(size_t rung, int64_t halving) const {
  if (rung < first_rung) return 0;
  auto count = static_cast<int64_t>(points.size());
  for (size_t i = first_rung; i < rung; ++i) count = divided_up(count, halving);
  return count;
}

std::vector<size_t> TunedRegime::points_of(size_t rung, int64_t halving) const {
  std::vector<size_t> chosen;
  if (rung < first_rung) return chosen;
  if (rung == first_rung) {
    for (size_t i = 0; i < points.size(); ++i) chosen.push_back(i);
    return chosen;
  }
  const auto trial = [&](size_t i) -> const Trial& { return points[i].trials.at(rung - 1); };
  size_t trained = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    if (!points[i].trials.contains(rung - 1)) continue;
    ++trained;
    if (!trial(i).diverged) chosen.push_back(i);
  }
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](size_t a, size_t b) { return trial(a).accuracy.mean > trial(b).accuracy.mean; });
  const auto kept = static_cast<size_t>(divided_up(static_cast<int64_t>(trained), halving));
  chosen.resize(std::min(chosen.size(), kept));
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::optional<size_t> TunedRegime::best() const {
  std::optional<size_t> best;
  const auto rank = [&](size_t i) {
    const auto& [rung, trial] = *points[i].trials.rbegin();
    return std::pair(rung, trial.accuracy.mean);
  };
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].trials.empty() || points[i].trials.rbegin()->second.diverged) continue;
    if (!best || rank(i) > rank(*best)) best = i;
  }
  return best;
}

std::vector<size_t> TunedRegime::ties() const {
  const std::optional<size_t> chosen = best();
  std::vector<size_t> equal;
  for (size_t i = 0; chosen && i < points.size(); ++i) {
    if (i == *chosen || points[i].trials.empty()) continue;
    const auto& [rung, trial] = *points[i].trials.rbegin();
    const auto& [last, best_trial] = *points[*chosen].trials.rbegin();
    if (rung == last && !trial.diverged && trial.accuracy.mean == best_trial.accuracy.mean) equal.push_back(i);
  }
  return equal;
}

std::vector<std::string> TunedRegime::edges() const {
  std::vector<std::string> sentences;
  const std::optional<size_t> chosen = best();
  const std::vector<size_t> equal = ties();
  for (size_t i = 0; chosen && i < points[*chosen].values.size(); ++i) {
    const auto& [path, value] = points[*chosen].values[i];
    const bool open = std::ranges::any_of(equal, [&](size_t tie) { return points[tie].values[i].value != value; });
    if (!value.is_number() || open) continue;
    std::set<double> tried;
    for (const TunedPoint& point : points)
      if (const Json& other = point.values[i].value; other.is_number()) tried.insert(other.get<double>());
    const double number = value.get<double>();
    if (tried.size() < 2 || (number != *tried.begin() && number != *tried.rbegin())) continue;
    const bool of_range = drawn.contains(path);
    sentences.push_back(fmt::format("{}={} is the {} of the values {}; {}a wider range may hold a better one", path,
                                    value_text(value), number == *tried.begin() ? "smallest" : "largest",
                                    of_range ? "drawn" : "tried", of_range ? "more trials or " : ""));
  }
  return sentences;
}

double Tuning::budget(size_t rung) const { return rung_budget(options, rungs - 1 - rung); }

int64_t Tuning::epochs(const TunedRegime& regime, size_t rung) const {
  return epochs_at(regime.epochs, head.value("budget", 1.0) * budget(rung));
}

std::string Tuning::name() const { return head.value("name", "experiment"); }

Json Tuning::first_document() const {
  return document_with(*this, [](const TunedRegime&) { return size_t{0}; });
}

Json Tuning::chosen_document() const {
  return document_with(*this, [&](const TunedRegime& regime) {
    const std::optional<size_t> best = regime.best();
    NSGD_CHECK(best, "{}: tune: every one of the {} points diverged; expected a point that does not",
               place_of(origin, regime.name), regime.points.size());
    return *best;
  });
}

Json tuning_schemas() {
  // "tune" with the length of the draws, and a range under a path that stands for all paths.
  const Json entries{{trials_key, 1}, {"path", Json::object()}};
  Json tune = config_schema([&](const ConfigReader& root) { read_choices(root, entries, {}); });
  const Json list{{"type", "array"},
                  {"items", {{"type", {"number", "string", "boolean"}}}},
                  {"minItems", 1},
                  {"uniqueItems", true}};
  tune["additionalProperties"] = {{"anyOf", Json::array({list, tune["properties"]["path"]})}};
  for (const char* keyword : {"patternProperties", "required"}) tune.erase(keyword);
  tune["properties"].erase("path");
  return {{"tune", tune}, {"tuning", config_schema(read_tuning_keys)}};
}

namespace {

Tuning read_plan(const GivenDocument& given, const Extensions& extensions) {
  Tuning tuning;
  tuning.origin = given.origin;
  Json document = given.document;
  const Json options = document.is_object() && document.contains("tuning") ? document["tuning"] : Json::object();
  if (document.is_object()) document.erase("tuning");
  SplitDocument split = noisysgd::split(document, given.origin);
  const auto is_tuned = [](const NamedDocument& regime) { return regime.document.contains("tune"); };
  if (std::none_of(split.regimes.begin(), split.regimes.end(), is_tuned))
    throw ConfigError(given.origin, {"$.tune: is missing; --tune needs it in a regime or for all, as in "
                                     "\"tune\": {\"optimizer.learning_rate\": [0.05, 0.1, 0.2]}"});
  tuning.head = split.head;
  Problems problems(tuning);
  problems.note(nullptr, [&] { tuning.options = read_options(options, given.origin); });
  for (const auto& [name, regime] : split.regimes) {
    tuning.regimes.push_back({.name = name, .document = regime, .points = {}});
    tuning.regimes.back().document.erase("tune");
  }
  for (size_t r = 0; r < split.regimes.size(); ++r) {
    TunedRegime& tuned = tuning.regimes[r];
    problems.note(nullptr, [&] { check_holdout(tuned.document, given.origin); });
    problems.note(&tuned, [&] {
      if (!split.regimes[r].document.contains("tune")) return;
      Points read = read_points(split.regimes[r].document["tune"], given.origin, tuning.options.seeds.front(),
                                wants_integer_in(tuned.document, extensions));
      tuned.drawn = std::move(read.drawn);
      for (Point& point : read.points) {
        check_holdout(with_values(tuned.document, point), given.origin);
        tuned.points.push_back({std::move(point), {}});
      }
    });
  }
  problems.check();  // there are points of all regimes from here on
  double budget = 1;
  problems.note(nullptr, [&] {
    budget = read_experiment(tuning.first_document(), given.origin, extensions, given.assignments).budget;
  });
  for (TunedRegime& regime : tuning.regimes) regime.epochs = check_points(tuning, regime, extensions, problems);
  problems.check();
  std::vector<size_t> rungs;
  for (const TunedRegime& regime : tuning.regimes)
    rungs.push_back(regime.points.empty() ? 0 : rungs_for(regime.points.size(), regime.epochs, budget, tuning.options));
  tuning.rungs = *std::max_element(rungs.begin(), rungs.end());
  for (size_t i = 0; i < rungs.size(); ++i) tuning.regimes[i].first_rung = tuning.rungs - rungs[i];
  return tuning;
}

// choose: indices of the points of a regime.
Rung trials_of(const Tuning& tuning, size_t rung, const Extensions& extensions,
               const std::function<std::vector<size_t>(const TunedRegime&)>& choose) {
  Json document = tuning.head;
  document.erase("seed");
  document["seeds"] = tuning.options.seeds;
  document["budget"] = tuning.head.value("budget", 1.0) * tuning.budget(rung);
  Rung result;
  SplitDocument split{document, {}};
  std::vector<std::string> columns;
  for (size_t r = 0; r < tuning.regimes.size(); ++r) {
    const TunedRegime& regime = tuning.regimes[r];
    for (const size_t p : choose(regime)) {
      const Point& values = regime.points[p].values;
      Json point = with_values(regime.document, values);
      apply_override(point, fmt::format("data.holdout={}", tuning.options.holdout));
      split.regimes.push_back({point_name(regime.name, values), std::move(point)});
      result.points.push_back({r, p});
      for (const Setting& setting : values) add_once(columns, setting.path);
    }
  }
  if (result.points.empty()) return result;
  split.head["columns"] = columns;
  result.experiment = read_experiment(
      split.joined(), fmt::format("{}: tuning at budget {:.3g}", tuning.origin, document.at("budget").get<double>()),
      extensions);
  result.experiment.name = fmt::format("{}, rung {} of {}", tuning.name(), rung + 1, tuning.rungs);
  return result;
}

}  // namespace

Rung rung_of(const Tuning& tuning, size_t rung, const Extensions& extensions) {
  return trials_of(tuning, rung, extensions,
                   [&](const TunedRegime& regime) { return regime.points_of(rung, tuning.options.halving); });
}

Rung all_points(const Tuning& tuning, size_t rung, const Extensions& extensions) {
  return trials_of(tuning, rung, extensions, [&](const TunedRegime& regime) {
    std::vector<size_t> all(rung < regime.first_rung ? 0 : regime.points.size());
    std::iota(all.begin(), all.end(), size_t{0});
    return all;
  });
}

Tuning read_tuning(const GivenDocument& given, const Extensions& extensions) {
  return with_earlier_problems(given.origin, given.problems, [&] { return read_plan(given, extensions); });
}

}  // namespace noisysgd
