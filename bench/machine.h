// Describes the machine and the software of a benchmark.
#pragma once

#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::bench {

// {"date", "cores", "threads", "version"} and what describe_environment returns.
Json describe_machine(kernels::Queue& queue);

// High-water mark of the process's resident memory in bytes; 0 if the system does not report it.
size_t resident_peak();
// Resets the high-water mark to the current resident memory; false if the system does not allow it.
bool reset_resident_peak();

}  // namespace noisysgd::bench
