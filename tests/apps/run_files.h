// The files that a run writes into its folder.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <noisysgd/core/json.h>
#include <noisysgd/core/safetensors.h>

namespace noisysgd::test {

// Every tensor of the last checkpoint.
inline std::map<std::string, std::vector<float>> tensors_of(const std::filesystem::path& folder) {
  const SafetensorsFile file(folder / "checkpoint.safetensors");
  std::map<std::string, std::vector<float>> tensors;
  for (const auto& entry : file.entries()) tensors[entry.name] = file.values<float>(entry.name);
  return tensors;
}

// The lines of metrics.jsonl, without times.
inline std::vector<Json> metrics_of(const std::filesystem::path& folder) {
  std::ifstream file(folder / "metrics.jsonl");
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(parse_json(line, "metrics.jsonl"));
    lines.back().erase("samples_per_second");
  }
  return lines;
}

}  // namespace noisysgd::test
