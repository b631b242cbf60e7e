// What autotuning has found, kept on disk from run to run: one small file per problem under
// $NSGD_CACHE, else $XDG_CACHE_HOME/noisysgd, else ~/.cache/noisysgd. A file that cannot be read or written is as one
// that is not there: the choice is then made again.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace noisysgd::kernels::cuda {

struct PlanChoice {
  int position;    // among the library's plans, in its order
  int64_t engine;  // the library's number of that plan's engine: another one means that the order has changed
  bool bf16;       // on operands converted to bf16
  bool operator==(const PlanChoice&) const = default;
};

class PlanCache {
 public:
  // library and device become folders of the cache: "cudnn-91900", "NVIDIA H100 80GB HBM3".
  PlanCache(const std::string& library, const std::string& device);

  std::optional<PlanChoice> read(const std::string& problem) const;
  void write(const std::string& problem, const PlanChoice& choice) const;

 private:
  std::filesystem::path folder_;  // empty: no place to keep anything
};

}  // namespace noisysgd::kernels::cuda
