#include <noisysgd/apps/run_folder.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include <noisysgd/apps/record.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/tensorboard.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

// The number of epochs in the name of a file that was kept.
std::optional<int64_t> kept_epoch(std::string_view name, std::string_view prefix = kept_checkpoint_prefix,
                                  std::string_view end = ".safetensors") {
  if (!name.starts_with(prefix) || !name.ends_with(end) || name.size() <= prefix.size() + end.size()) return {};
  const std::string_view number = name.substr(prefix.size(), name.size() - prefix.size() - end.size());
  int64_t epoch = 0;
  const auto [last, error] = std::from_chars(number.data(), number.data() + number.size(), epoch);
  if (error != std::errc() || last != number.data() + number.size() || epoch < 1) return {};
  return epoch;
}

bool is_of_run(const std::string& name) {
  constexpr std::array<std::string_view, 6> names{config_file,     summary_file,         divergence_file,
                                                  checkpoint_file, best_checkpoint_file, metrics_file};
  return std::find(names.begin(), names.end(), name) != names.end() || is_events_name(name) || kept_epoch(name) ||
         kept_epoch(name, kept_summary_prefix, ".json");
}

bool is_of_suite(const std::string& name) {
  constexpr std::array<std::string_view, 4> names{experiment_file, table_text_file, table_markdown_file,
                                                  table_json_file};
  return std::find(names.begin(), names.end(), name) != names.end();
}

// True for the folder of a tuning, which is there before the files of its suite.
bool is_of_tuning(const fs::directory_entry& entry) {
  if (entry.path().filename() != tuning_folder || entry.is_symlink() || !entry.is_directory()) return false;
  const auto is_ours = [](const fs::directory_entry& inner) {
    const std::string name = inner.path().filename().string();
    return name == tuned_file || name == tuning_markdown_file || name == tuning_json_file ||
           name.starts_with(rung_prefix) || is_temporary(name);
  };
  return std::all_of(fs::directory_iterator(entry.path()), fs::directory_iterator(), is_ours);
}

// A stored configuration completed with the defaults of keys that were added to the program later. Returned unchanged
// if it cannot be read any more.
Json with_newer_keys(const Json& config, const Extensions& extensions) {
  try {
    return read_experiment(config, "stored", extensions).regimes.at(0).effective;
  } catch (const Error&) {
    return config;
  }
}

// Adds the folders with a checkpoint below a folder, as OUTPUT/REGIME/seed-S, in the order of their names. Those of a
// tuning are no results.
void add_runs_below(const fs::path& folder, int levels, std::vector<std::string>& runs) {
  std::error_code unreadable;
  std::vector<fs::path> inner;
  for (fs::directory_iterator entry(folder, unreadable), end; !unreadable && entry != end; entry.increment(unreadable))
    if (!entry->is_symlink() && entry->is_directory() && entry->path().filename() != tuning_folder)
      inner.push_back(entry->path());
  std::ranges::sort(inner);
  for (const fs::path& one : inner) {
    if (fs::exists(one / checkpoint_file))
      runs.push_back(one.string());
    else if (levels > 1)
      add_runs_below(one, levels - 1, runs);
  }
}

std::optional<Json> read_if_there(const fs::path& path) {
  const std::optional<std::string> text = read_plain_file(path);
  return text ? std::optional<Json>(parse_json(*text, path.string())) : std::nullopt;
}

}  // namespace

void check_ours(const fs::path& folder, FolderOf kind) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  NSGD_CHECK(error != std::errc::not_a_directory && (!fs::exists(status) || fs::is_directory(status)),
             "{}: cannot be made: a file is in the way", folder.string());
  if (!fs::exists(status)) return;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const fs::file_status file = fs::symlink_status(entry->path(), error);
    if (kind == FolderOf::suite && is_of_tuning(*entry)) continue;
    if (is_temporary(name) || file.type() == fs::file_type::not_found) continue;  // another program is running
    NSGD_CHECK(!(is_of_run(name) || is_of_suite(name)) || fs::is_regular_file(file),
               "{}: is not a regular file; a run writes only into files of its own", entry->path().string());
    // A run writes config.json first, a suite experiment.json.
    const bool holds_suite = fs::exists(folder / experiment_file);
    NSGD_CHECK(fs::exists(folder / config_file) || (holds_suite && !is_of_run(name)),
               "{}: holds {} but no {}, so it is not a folder of this program; use another --output", folder.string(),
               name, holds_suite || kind == FolderOf::run ? config_file : experiment_file);
  }
  NSGD_CHECK(!error, "{}: cannot be read: {}", folder.string(), error.message());
}

fs::path checkpoint_of(const fs::path& file_or_folder) {
  if (!fs::is_directory(file_or_folder)) return file_or_folder;
  const fs::path checkpoint = file_or_folder / checkpoint_file;
  if (fs::exists(checkpoint)) return checkpoint;
  std::vector<std::string> runs;
  add_runs_below(file_or_folder, 2, runs);
  constexpr size_t shown = 6;
  const size_t first = std::min(runs.size(), shown);
  const std::string advice =
      runs.empty() ? "expected a safetensors file, or the folder of a run"
                   : fmt::format("give the folder of one of its runs: {}{}",
                                 fmt::join(runs.begin(), runs.begin() + static_cast<int64_t>(first), ", "),
                                 first < runs.size() ? fmt::format(" and {} more", runs.size() - first) : "");
  throw Error(fmt::format("{}: holds no {}; {}", file_or_folder.string(), checkpoint_file, advice));
}

fs::path kept_checkpoint(const fs::path& folder, int64_t epochs_done) {
  return folder / fmt::format("{}{}.safetensors", kept_checkpoint_prefix, epochs_done);
}

fs::path kept_summary(const fs::path& folder, int64_t epochs_done) {
  return folder / fmt::format("{}{}.json", kept_summary_prefix, epochs_done);
}

std::vector<fs::path> kept_checkpoints(const fs::path& folder) {
  std::map<int64_t, fs::path> kept;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const auto epoch = kept_epoch(entry.path().filename().string())) kept[*epoch] = entry.path();
  std::vector<fs::path> paths;
  for (const auto& [epoch, path] : kept) paths.push_back(path);
  return paths;
}

Json run_identity(const Regime& regime, uint64_t seed) {
  return {{"regime", regime.name}, {"seed", seed}, {"config", regime.effective}};
}

RunName run_name(const Json& identity) {
  const Record record(identity);
  NSGD_CHECK(record.at("seed").is_number_unsigned(), "\"seed\" is no whole number from 0 on");
  NSGD_CHECK(record.at("config").is_object(), "\"config\" is no object");
  return {record.text("regime"), record.at("seed").get<uint64_t>()};
}

std::optional<RunName> run_in(const fs::path& folder) {
  const std::optional<Json> identity = read_if_there(folder / config_file);
  if (!identity) return {};
  try {
    return run_name(*identity);
  } catch (const Error& error) {
    throw Error(
        fmt::format("{}: is not as noisysgd-train writes it: {}", (folder / config_file).string(), error.what()));
  }
}

std::vector<std::string> identity_differences(const Json& stored, const Regime& regime, uint64_t seed,
                                              const Extensions& extensions) {
  const RunName there = run_name(stored);
  auto differences = config_differences(with_newer_keys(stored.at("config"), extensions), regime.effective);
  if (there.regime != regime.name)
    differences.push_back(
        fmt::format("regime: {} there, {} here", Json(there.regime).dump(), Json(regime.name).dump()));
  if (there.seed != seed) differences.push_back(fmt::format("seed: {} there, {} here", there.seed, seed));
  return differences;
}

void check_identity(const fs::path& folder, const Regime& regime, uint64_t seed, const Extensions& extensions,
                    const std::string& advice) {
  if (!run_in(folder)) return;
  const fs::path path = folder / config_file;
  const auto differences = identity_differences(read_if_there(path).value(), regime, seed, extensions);
  NSGD_CHECK(differences.empty(), "{}: was written by another configuration ({}); {}", path.string(),
             fmt::format("{}", fmt::join(differences, "; ")), advice);
}

PathLock claim_run(const fs::path& folder, const Regime& regime, uint64_t seed, const Extensions& extensions) {
  make_folder(folder);
  const PathLock claim = PathLock::wait(folder);
  check_ours(folder, FolderOf::run);
  check_identity(folder, regime, seed, extensions);
  if (!run_in(folder)) write_file_atomically(folder / config_file, run_identity(regime, seed).dump(2) + "\n");
  auto lock = PathLock::attempt(folder / config_file);
  if (!lock) throw FolderInUse(fmt::format("{}: another program is at work in this folder", folder.string()));
  return std::move(*lock);
}

namespace {

// Runs `check` on a file of a run. Errors begin with the file's path.
template <class Check>
void check_file(const fs::path& path, const Json& document, Check&& check) {
  try {
    check(Record(document));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
}

}  // namespace

void check_summary(const fs::path& folder, const std::string& evaluated_set, const Json& summary) {
  check_file(folder / summary_file, summary, [&](const Record& record) {
    const std::string accuracy = evaluated_set + "_accuracy";
    for (const std::string& key : {accuracy, "best_" + accuracy, std::string("train_accuracy")})
      record.number(key, 0, 1);
    record.number("train_loss");
    record.number("seconds", 0);
  });
}

void check_divergence(const fs::path& folder, const Json& divergence) {
  check_file(folder / divergence_file, divergence, [](const Record& record) { record.whole("step", 1); });
}

std::optional<Json> run_summary(const fs::path& folder) { return read_if_there(folder / summary_file); }
std::optional<Json> run_divergence(const fs::path& folder) { return read_if_there(folder / divergence_file); }
bool is_settled(const fs::path& folder) { return is_finished(folder) || fs::exists(folder / divergence_file); }
bool is_finished(const fs::path& folder) { return fs::exists(folder / summary_file); }

}  // namespace noisysgd
