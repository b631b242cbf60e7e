// With NSGD_EXPECT_EVERY_KERNEL in the environment the process fails at its end unless its tests launched every CUDA
// kernel that it holds.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <noisysgd/kernels/emulation/scheduler.h>
#include <noisysgd/kernels/emulation/symbols.h>

namespace {

struct AtExit {
  ~AtExit() {
    if (!std::getenv("NSGD_EXPECT_EVERY_KERNEL")) return;
    using namespace noisysgd::emulation;
    const std::vector<std::string> launched = launched_kernels(), all = kernels_of_executable();
    bool missing = all.empty();
    for (const std::string& kernel : all) {
      if (std::find(launched.begin(), launched.end(), kernel) != launched.end()) continue;
      fmt::print(stderr, "launched by no test: {}\n", kernel);
      missing = true;
    }
    fmt::print(stderr, "{} kernels, {} launched\n", all.size(), launched.size());
    if (missing) std::_Exit(1);
  }
};
const AtExit at_exit;

}  // namespace
