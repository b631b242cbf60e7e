// The folder of one training run: config.json says which run it is (effective configuration, regime and seed), and
// summary.json or diverged.json how it ended.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "apps/experiment.h"

namespace noisysgd {

inline constexpr const char *config_file = "config.json", *summary_file = "summary.json",
                            *divergence_file = "diverged.json";

// What makes a run the run that it is: the content of config.json.
Json run_identity(const Regime& regime, uint64_t seed);

// Throws Error naming every difference if the run in `folder` was made by another effective configuration or seed. Keys
// that are newer than the folder must have their defaults.
void check_identity(const std::filesystem::path& folder, const Regime& regime, uint64_t seed,
                    const Extensions& extensions);

// summary.json and diverged.json of a run folder, where it has them.
std::optional<Json> run_summary(const std::filesystem::path& folder);
std::optional<Json> run_divergence(const std::filesystem::path& folder);
// True if `folder` holds a run, and if it holds the summary of a finished one.
bool holds_run(const std::filesystem::path& folder);
bool is_finished(const std::filesystem::path& folder);

// What `read` makes of the document of a file. Throws Error naming a file that lacks what it should say.
template <class Read>
auto understood(const std::filesystem::path& path, const Json& document, Read&& read) {
  try {
    return read(document);
  } catch (const Json::exception& error) {
    const std::string_view text = error.what();  // "[json.exception.out_of_range.403] key 'config' not found"
    throw Error(
        fmt::format("{}: is not as noisysgd-train writes it: {}", path.string(), text.substr(text.find(' ') + 1)));
  }
}

}  // namespace noisysgd
