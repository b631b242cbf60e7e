// Downloads published data sets. Tries the mirrors in order, resumes partial files (NAME.part), and gives a file its
// name only after its size and SHA-256 have been checked. Archives are unpacked and removed. Files that are already
// there are not downloaded again. A transfer stops when it exceeds the largest size that the published file can have.
// Errors name the file and the failure of every mirror.
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
  // Called a few times per second with the bytes so far and in total (0: unknown).
  std::function<void(const std::string& file, int64_t done, int64_t total)> progress;
  std::function<void(const std::string& line)> note;  // one line per event: kept, resumed, failed mirror, done
};

void fetch(const Source& source, const std::filesystem::path& root, const FetchOptions& options);

// How the file differs from the published one (size or hash); nothing if it does not.
std::optional<std::string> find_difference(const SourceFile& file, const std::filesystem::path& path);

}  // namespace noisysgd
