// The folder of one training run: config.json says which run it is (effective configuration, regime and seed), and
// summary.json or diverged.json how it ended.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "apps/experiment.h"

namespace noisysgd {

inline constexpr const char *config_file = "config.json", *summary_file = "summary.json",
                            *divergence_file = "diverged.json", *checkpoint_file = "checkpoint.safetensors",
                            *metrics_file = "metrics.jsonl";
// Of a suite's folder: the document that it was made from, and its table.
inline constexpr const char *experiment_file = "experiment.json", *table_text_file = "table.txt",
                            *table_markdown_file = "table.md", *table_json_file = "table.json";

// Throws Error if `folder` is of somebody else: if there is something in it, but neither a suite nor a run of this
// program, or if one of their files is a link or anything else that is no plain file.
void check_ours(const std::filesystem::path& folder);

// What makes a run the run that it is: the content of config.json.
Json run_identity(const Regime& regime, uint64_t seed);

// The regime and the seed of the run in `folder`, if there is one.
struct RunName {
  std::string regime;
  uint64_t seed;

  bool operator==(const RunName&) const = default;
};
std::optional<RunName> run_in(const std::filesystem::path& folder);

// Throws Error naming every difference if there is a run in `folder` that was made by another effective configuration
// or seed. Keys that are newer than the folder must have their defaults. suite: the folder to continue, for the
// message.
void check_identity(const std::filesystem::path& folder, const Regime& regime, uint64_t seed,
                    const Extensions& extensions, const std::filesystem::path& suite = {});

// summary.json and diverged.json of a run folder, where it has them.
std::optional<Json> run_summary(const std::filesystem::path& folder);
std::optional<Json> run_divergence(const std::filesystem::path& folder);
bool is_finished(const std::filesystem::path& folder);  // there is a summary

}  // namespace noisysgd
