#include "apps/run_folder.h"

#include <fmt/ranges.h>

#include "core/file.h"

namespace noisysgd {
namespace {

// A configuration from a file as this version of the program would have written it: keys that are newer than the file
// take their defaults. One that can no longer be read stays as it is.
Json with_newer_keys(const Json& config, const Extensions& extensions) {
  try {
    return read_experiment(config, "stored", extensions).regimes.at(0).effective;
  } catch (const Error&) {
    return config;
  }
}

std::optional<Json> read_if_there(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  return parse_json(read_file(path), path.string());
}

}  // namespace

Json run_identity(const Regime& regime, uint64_t seed) {
  return {{"regime", regime.name}, {"seed", seed}, {"config", regime.effective}};
}

void check_identity(const std::filesystem::path& folder, const Regime& regime, uint64_t seed,
                    const Extensions& extensions) {
  const std::filesystem::path path = folder / config_file;
  const Json stored = parse_json(read_file(path), path.string()), here = run_identity(regime, seed);
  const std::vector<std::string> differences = understood(path, stored, [&](const Json& there) {
    auto found = config_differences(with_newer_keys(there.at("config"), extensions), regime.effective);
    for (const char* key : {"regime", "seed"})
      if (there.at(key) != here.at(key))
        found.push_back(fmt::format("{}: {} there, {} here", key, there.at(key).dump(), here.at(key).dump()));
    return found;
  });
  NSGD_CHECK(differences.empty(), "{}: was written by another configuration ({}); use another --output", path.string(),
             fmt::join(differences, "; "));
}

std::optional<Json> run_summary(const std::filesystem::path& folder) { return read_if_there(folder / summary_file); }
std::optional<Json> run_divergence(const std::filesystem::path& folder) {
  return read_if_there(folder / divergence_file);
}
bool holds_run(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / config_file) || is_finished(folder);
}
bool is_finished(const std::filesystem::path& folder) { return std::filesystem::exists(folder / summary_file); }

}  // namespace noisysgd
