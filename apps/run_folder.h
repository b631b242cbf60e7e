// The folder of one training run: config.json says which run it is (effective configuration, regime and seed), and
// summary.json or diverged.json how it ended.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/apps/experiment.h>
#include <noisysgd/core/file.h>

namespace noisysgd {

inline constexpr const char *config_file = "config.json", *summary_file = "summary.json",
                            *divergence_file = "diverged.json", *checkpoint_file = "checkpoint.safetensors",
                            *best_checkpoint_file = "checkpoint-best.safetensors", *metrics_file = "metrics.jsonl";
// What checkpoint.keep_every_epochs keeps is the prefix, the number of epochs done and ".safetensors".
inline constexpr const char* kept_checkpoint_prefix = "checkpoint-epoch-";
// The summary of a finished run that --epochs has trained on: the prefix, the number of epochs done and ".json".
inline constexpr const char* kept_summary_prefix = "summary-epoch-";
// Files of a suite's folder: the configuration that it was made from, and its table.
inline constexpr const char *experiment_file = "experiment.json", *table_text_file = "table.txt",
                            *table_markdown_file = "table.md", *table_json_file = "table.json";

// The folder of a suite's tuning (apps/tuning.h), in that of the suite: the configuration that was tuned, the results,
// and a suite for each rung.
inline constexpr const char *tuning_folder = "tuning", *tuned_file = "configuration.json",
                            *tuning_markdown_file = "tuning.md", *tuning_json_file = "tuning.json",
                            *rung_prefix = "rung-";

// What a folder is meant to hold: a suite or a run. A run has its own folder or is in that of its suite.
enum class FolderOf { suite, run };

// Throws Error if `folder` holds something but neither a suite nor a run of this program, or if one of their files is
// not a regular file (a link, for example).
void check_ours(const std::filesystem::path& folder, FolderOf kind);

// The last checkpoint of a run whose folder is given in place of a file. Throws Error for a folder without one, which
// names the folders of runs in it, such as those of a suite.
std::filesystem::path checkpoint_of(const std::filesystem::path& file_or_folder);

// The checkpoint that is kept of an epoch, and those that are there, in the order of their epochs.
std::filesystem::path kept_checkpoint(const std::filesystem::path& folder, int64_t epochs_done);
std::filesystem::path kept_summary(const std::filesystem::path& folder, int64_t epochs_done);
std::vector<std::filesystem::path> kept_checkpoints(const std::filesystem::path& folder);

// The identity of a run (regime, seed and effective configuration): the content of config.json.
Json run_identity(const Regime& regime, uint64_t seed);

// The regime and the seed of the run in `folder`, if there is one.
struct RunName {
  std::string regime;
  uint64_t seed;

  bool operator==(const RunName&) const = default;
};
std::optional<RunName> run_in(const std::filesystem::path& folder);
// Of a stored identity. Throws Error that names the key unless that holds a regime, a seed and a configuration.
RunName run_name(const Json& identity);

// The differences between a stored identity and this run, as text for messages; empty if there are none. Keys that the
// stored configuration does not have yet must have their defaults here.
std::vector<std::string> identity_differences(const Json& stored, const Regime& regime, uint64_t seed,
                                              const Extensions& extensions);

// Throws Error with every difference if `folder` holds a run with another regime, effective configuration or seed.
// advice: the end of the message, which says what to do.
void check_identity(const std::filesystem::path& folder, const Regime& regime, uint64_t seed,
                    const Extensions& extensions, const std::string& advice = "use another --output");

class FolderInUse : public Error {
 public:
  using Error::Error;
};

// Creates the folder and its config.json if necessary, and locks the run: other programs get FolderInUse while the lock
// exists. Throws Error as check_ours and check_identity do.
PathLock claim_run(const std::filesystem::path& folder, const Regime& regime, uint64_t seed,
                   const Extensions& extensions);

// summary.json and diverged.json of a run folder, if they exist.
std::optional<Json> run_summary(const std::filesystem::path& folder);
std::optional<Json> run_divergence(const std::filesystem::path& folder);
// Throw Error that begins with the file and names the key if a file of the folder lacks what tables and reports show,
// or has an impossible value. evaluated_set: "test" or "holdout".
void check_summary(const std::filesystem::path& folder, const std::string& evaluated_set, const Json& summary);
void check_divergence(const std::filesystem::path& folder, const Json& divergence);
bool is_finished(const std::filesystem::path& folder);  // there is a summary
bool is_settled(const std::filesystem::path& folder);   // finished or diverged

}  // namespace noisysgd
