#include <fmt/format.h>

#include <cstdlib>

#include <noisysgd/kernels/cuda/cudnn_graph.h>

namespace noisysgd::kernels::cudnn {

bool find_library(std::string& why_not) {
  const char* const variable = std::getenv("NSGD_CUDNN");
  const std::string wanted = variable ? variable : "";
  if (wanted == "off") {
    why_not = "NSGD_CUDNN=off";
    return false;
  }
  const bool found = open_library(wanted, why_not);
  NSGD_CHECK(found || wanted.empty(), "NSGD_CUDNN={}: {}", wanted, why_not);
  return found;
}

std::string version_text() {
  return fmt::format("cuDNN {}.{}.{}", version() / 10000, version() / 100 % 100, version() % 100);
}

}  // namespace noisysgd::kernels::cudnn
