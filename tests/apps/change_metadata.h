// Changes the metadata of a safetensors file of floats.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include <noisysgd/core/safetensors.h>

namespace noisysgd::test {

inline void change_metadata(const std::filesystem::path& path, const std::function<void(StoredMetadata&)>& change) {
  const SafetensorsFile file(path);
  std::vector<std::vector<float>> values;
  std::vector<StoredTensor> tensors;
  StoredMetadata metadata = file.metadata();
  change(metadata);
  for (const auto& entry : file.entries()) values.push_back(file.values<float>(entry.name));
  for (size_t i = 0; i < values.size(); ++i)
    tensors.push_back(stored_tensor<float>(file.entries()[i].name, file.entries()[i].shape, values[i]));
  write_safetensors(path, tensors, metadata);
}

}  // namespace noisysgd::test
