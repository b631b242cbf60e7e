#include <noisysgd/apps/environment.h>

#include <cblas.h>
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <oneapi/dnnl/dnnl.hpp>

#include <noisysgd/apps/version.h>
#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/simd/simd_kernels.h>

namespace noisysgd {

std::string system_value(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    const size_t begin = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return {};
}

Json describe_environment(kernels::Queue& queue) {
  const dnnl_version_t* onednn = dnnl_version();
  const std::string processor = system_value("/proc/cpuinfo", "model name");
  Json environment{{"commit", commit()},
                   {"compiler", compiler()},
                   {"processor", processor.empty() ? "unknown" : processor},
                   {"isa", kernels::simd::simd_kernels().name},
                   {"onednn", fmt::format("{}.{}.{}", onednn->major, onednn->minor, onednn->patch)},
                   {"openblas", openblas_get_config()}};
  const char* const rounding = std::getenv("NSGD_ROUND_STORED");  // core/stored_rounding.h
  if (rounding && *rounding) environment["round_stored"] = rounding;
  if (queue.device().backend == Backend::cuda) {
    for (const auto& [key, value] : kernels::cuda::describe_device(queue.device().index)) environment[key] = value;
    environment["convolutions"] = kernels::cuda::convolutions(queue.cuda());
  }
  return environment;
}

}  // namespace noisysgd
