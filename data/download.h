// Fetches published data sets: tries the mirrors in order, resumes partial files (NAME.part), and gives a file its name
// only after its size and SHA-256 are right. Archives are unpacked and removed. What is already there is not fetched
// again. A transfer ends where the file grows longer than the published one can be. Errors name the file and what went
// wrong at every mirror.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/data/sources.h>

namespace noisysgd {

struct FetchOptions {
  std::vector<std::string> mirrors;  // tried before the published ones; with or without the final slash
  // Bytes so far and in all (0: unknown), a few times per second.
  std::function<void(const std::string& file, int64_t done, int64_t total)> progress;
  std::function<void(const std::string& line)> note;  // one line per event: kept, resumed, failed mirror, done
};

void fetch(const Source& source, const std::filesystem::path& root, const FetchOptions& options);

// Why the file is not the published one: size or hash; nothing if it is.
std::optional<std::string> find_difference(const SourceFile& file, const std::filesystem::path& path);

}  // namespace noisysgd
