#include <noisysgd/bench/machine.h>

#include <fmt/chrono.h>
#include <malloc.h>
#include <omp.h>

#include <ctime>
#include <fstream>

#include <noisysgd/apps/environment.h>
#include <noisysgd/apps/version.h>

namespace noisysgd::bench {

Json describe_machine(kernels::Queue& queue) {
  Json machine{{"date", fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)))},
               {"cores", omp_get_num_procs()},
               {"threads", queue.threads()},
               {"version", version()}};
  machine.update(describe_environment(queue));
  return machine;
}

size_t resident_peak() {
  const std::string value = system_value("/proc/self/status", "VmHWM");  // "1234 kB"
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
