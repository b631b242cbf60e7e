#include <noisysgd/apps/report/logged_run.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <noisysgd/apps/record.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;
constexpr double no_value = std::numeric_limits<double>::quiet_NaN();

double number_in(const Json& json, const std::string& key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : no_value;
}

void put(LogColumns& columns, const std::string& layer, const std::string& field, double value) {
  std::vector<double>& column = columns.values[{layer, field}];
  column.resize(columns.lines(), no_value);
  column.back() = value;
}

// Throws Error with the column of a syntax error.
Json parse_line(std::string_view line) {
  try {
    return parse_json(line, "");
  } catch (const Error& error) {
    const std::string reason = error.what();  // ":1:COLUMN: reason"
    throw Error(reason.starts_with(":1:") ? "column " + reason.substr(3) : reason);
  }
}

// Adds a line. Throws Error if it is not one of a run's log.
void add_line(LoggedRun& run, std::string_view line) {
  const Json json = parse_line(line);
  const Record record(json);
  const auto step = static_cast<double>(record.whole("step", 1)), epoch = static_cast<double>(record.whole("epoch", 1));
  const std::string split = record.text("split");
  if (split != "train") run.evaluated_set = split;
  LogColumns& columns = split == "train" ? run.train : run.evaluated;
  columns.step.push_back(step);
  columns.epoch.push_back(epoch);
  for (const auto& [key, value] : json.items()) {
    if (key == "layers" && value.is_object()) {
      for (const auto& [layer, fields] : value.items()) {
        if (!fields.is_object()) continue;
        if (std::find(columns.layers.begin(), columns.layers.end(), layer) == columns.layers.end())
          columns.layers.push_back(layer);
        for (const auto& [field, number] : fields.items())
          if (number.is_number()) put(columns, layer, field, number.get<double>());
      }
    } else if (value.is_number() && key != "step" && key != "epoch") {
      put(columns, "", key, value.get<double>());
    }
  }
}

void read_log(LoggedRun& run) {
  const fs::path path = run.folder / metrics_file;
  const std::optional<std::string> log = read_plain_file(path);
  if (!log) return;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    run.last_change = utc_text(status.st_mtime);
  }
  size_t number = 0, refused = 0;
  std::string first_problem;
  for (size_t begin = 0, end = 0; (end = log->find('\n', begin)) != std::string::npos; begin = end + 1) {
    ++number;
    try {
      add_line(run, std::string_view(*log).substr(begin, end - begin));
    } catch (const std::exception& error) {
      if (refused++ == 0) first_problem = fmt::format("line {}: {}", number, error.what());
    }
  }
  for (LogColumns* columns : {&run.train, &run.evaluated})
    for (auto& [key, values] : columns->values) values.resize(columns->lines(), no_value);
  if (refused > 0)
    run.problems.push_back(fmt::format("{}: {} of {} lines cannot be read and {} left out; {}", path.string(), refused,
                                       number, refused == 1 ? "is" : "are", first_problem));
}

// Reads summary.json or diverged.json by `read`. None if `check` refuses it.
template <class Read, class Check>
std::optional<Json> read_end(LoggedRun& run, const Read& read, const Check& check) {
  try {
    std::optional<Json> end = read(run.folder);
    if (end) check(*end);
    return end;
  } catch (const Error& error) {
    run.problems.push_back(error.what());
    return {};
  }
}

}  // namespace

std::string utc_text(std::time_t seconds) {
  std::tm time{};
  std::array<char, 32> text{};
  ::gmtime_r(&seconds, &time);
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &time)};
}

const std::vector<double>* LogColumns::find(const std::string& field, const std::string& layer) const {
  const auto found = values.find({layer, field});
  return found == values.end() ? nullptr : &found->second;
}

double LoggedRun::result(const std::string& key) const { return summary ? number_in(*summary, key) : no_value; }

std::vector<double> LoggedRun::train_epochs() const {
  std::map<double, double> ends{{0, 0}};  // epoch -> last step
  for (size_t i = 0; i < evaluated.lines(); ++i) ends[evaluated.epoch[i]] = evaluated.step[i];
  if (ends.size() < 2) return {};
  std::vector<double> epochs;
  for (size_t i = 0; i < train.lines(); ++i) {
    const double epoch = train.epoch[i];
    const auto before = std::prev(ends.lower_bound(epoch));  // the last evaluation before this epoch
    // An epoch that has not ended is taken to be as long as the one before.
    const auto first = std::next(before) == ends.end() ? std::prev(before) : before, last = std::next(first);
    const double length = (last->second - first->second) / (last->first - first->first);
    epochs.push_back(before->first + (train.step[i] - before->second) / length);
  }
  return epochs;
}

LoggedRun read_logged_run(const fs::path& folder) {
  const std::optional<RunName> name = run_in(folder);
  NSGD_CHECK(name, "{}: is missing", (folder / config_file).string());
  LoggedRun run{.folder = folder, .regime = name->regime, .seed = name->seed};
  const std::string path = (folder / config_file).string();
  run.config = parse_json(read_plain_file(path).value_or(""), path).at("config");
  run.summary = read_end(run, run_summary, [&](const Json& summary) {
    const bool held_out = summary.is_object() && summary.contains("holdout_accuracy");
    check_summary(folder, held_out ? "holdout" : "test", summary);
  });
  if (!run.summary)
    run.divergence =
        read_end(run, run_divergence, [&](const Json& divergence) { check_divergence(folder, divergence); });
  if (run.summary && run.summary->contains("holdout_accuracy")) run.evaluated_set = "holdout";
  try {
    read_log(run);
  } catch (const Error& error) {
    run.problems.push_back(error.what());
  }
  return run;
}

}  // namespace noisysgd
