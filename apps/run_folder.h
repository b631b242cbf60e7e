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
                            *metrics_file = "metrics.jsonl";
// Of a suite's folder: the document that it was made from, and its table.
inline constexpr const char *experiment_file = "experiment.json", *table_text_file = "table.txt",
                            *table_markdown_file = "table.md", *table_json_file = "table.json";

// What a folder is to hold: a suite, and in a folder of its own or in the suite's a run.
enum class FolderOf { suite, run };

// Throws Error if `folder` is of somebody else: if there is something in it, but neither a suite nor a run of this
// program, or if one of their files is a link or anything else that is no plain file.
void check_ours(const std::filesystem::path& folder, FolderOf kind);

// What makes a run the run that it is: the content of config.json.
Json run_identity(const Regime& regime, uint64_t seed);

// The regime and the seed of the run in `folder`, if there is one.
struct RunName {
  std::string regime;
  uint64_t seed;

  bool operator==(const RunName&) const = default;
};
std::optional<RunName> run_in(const std::filesystem::path& folder);

// How the run of a stored identity differs from this one, as messages write it; empty if it is the same. Keys that are
// newer than what is stored must have their defaults.
std::vector<std::string> identity_differences(const Json& stored, const Regime& regime, uint64_t seed,
                                              const Extensions& extensions);

// Throws Error naming every difference if there is a run in `folder` that was made by another effective configuration
// or seed. advice: what the message says to do.
void check_identity(const std::filesystem::path& folder, const Regime& regime, uint64_t seed,
                    const Extensions& extensions, const std::string& advice = "use another --output");

class FolderInUse : public Error {
 public:
  using Error::Error;
};

// Makes the folder that of this run and keeps other programs out of the run until the lock ends: they get FolderInUse.
// Throws Error as check_ours and check_identity do.
PathLock claim_run(const std::filesystem::path& folder, const Regime& regime, uint64_t seed,
                   const Extensions& extensions);

// summary.json and diverged.json of a run folder, where it has them.
std::optional<Json> run_summary(const std::filesystem::path& folder);
std::optional<Json> run_divergence(const std::filesystem::path& folder);
bool is_finished(const std::filesystem::path& folder);  // there is a summary

}  // namespace noisysgd
