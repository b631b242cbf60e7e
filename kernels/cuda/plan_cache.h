// Results of autotuning, kept on disk from run to run: one small file per problem under $NSGD_CACHE, else
// $XDG_CACHE_HOME/noisysgd, else ~/.cache/noisysgd. A file that cannot be read or written counts as missing, and the
// choice is made again.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace noisysgd::kernels::cuda {

// A choice is the library's name of a plan, or, for the kernel of this repository:
inline constexpr const char* own_kernel = "own";

class PlanCache {
 public:
  // library and device name folders of the cache: "cuDNN_9.19.0", "NVIDIA_H100_80GB_HBM3".
  PlanCache(const std::string& library, const std::string& device);

  std::optional<std::string> read(const std::string& problem) const;
  void write(const std::string& problem, const std::string& choice) const;  // one word

 private:
  std::filesystem::path folder_;  // empty: there is no cache
};

}  // namespace noisysgd::kernels::cuda
