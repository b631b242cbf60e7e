// Results of autotuning, kept on disk from run to run: one small file per problem under $NSGD_CACHE, else
// $XDG_CACHE_HOME/noisysgd, else ~/.cache/noisysgd. A file that cannot be read or written counts as missing, and the
// choice is made again.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace noisysgd::kernels::cuda {

struct PlanChoice {
  int position;    // index among the library's plans, in its order
  int64_t engine;  // the library's number of that plan's engine; a different one shows that the order changed
  bool operator==(const PlanChoice&) const = default;
};
// Instead of a plan of the library: the kernel of this repository.
inline constexpr PlanChoice own_kernel{.position = -1, .engine = -1};

class PlanCache {
 public:
  // library and device name folders of the cache: "cuDNN_9.19.0", "NVIDIA_H100_80GB_HBM3".
  PlanCache(const std::string& library, const std::string& device);

  std::optional<PlanChoice> read(const std::string& problem) const;
  void write(const std::string& problem, const PlanChoice& choice) const;

 private:
  std::filesystem::path folder_;  // empty: there is no cache
};

}  // namespace noisysgd::kernels::cuda
