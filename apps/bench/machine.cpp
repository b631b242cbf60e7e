#include <noisysgd/apps/bench/machine.h>

#include <cblas.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <malloc.h>
#include <omp.h>

#include <ctime>
#include <fstream>
#include <oneapi/dnnl/dnnl.hpp>

#include <noisysgd/kernels/simd/simd_kernels.h>

namespace noisysgd::bench {

namespace {

// The value after "key   : " in the first line of a file that begins with the key; empty if there is none.
std::string value_of(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    const size_t begin = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return {};
}

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

}  // namespace

Json describe_machine(int threads) {
  const dnnl_version_t* onednn = dnnl_version();
  const std::string processor = value_of("/proc/cpuinfo", "model name");
  return {{"date", fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)))},
          {"processor", processor.empty() ? "unknown" : processor},
          {"cores", omp_get_num_procs()},
          {"threads", threads},
          {"isa", kernels::simd::simd_kernels().name},
          {"version", NSGD_VERSION},
          {"compiler", compiler()},
          {"onednn", fmt::format("{}.{}.{}", onednn->major, onednn->minor, onednn->patch)},
          {"openblas", openblas_get_config()}};
}

size_t resident_peak() {
  const std::string value = value_of("/proc/self/status", "VmHWM");  // "1234 kB"
  return value.empty() ? 0 : static_cast<size_t>(std::stoull(value)) * 1024;
}

bool reset_resident_peak() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace noisysgd::bench
