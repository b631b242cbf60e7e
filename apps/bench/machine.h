// Where and with what a benchmark ran. The machine is named by its processor alone.
#pragma once

#include <string>

#include <noisysgd/core/json.h>

namespace noisysgd::bench {

// {"date", "processor", "cores", "threads", "isa", "version", "compiler", "onednn", "openblas"}
Json describe_machine(int threads);

// High-water mark of the process's resident memory in bytes; 0 where the system does not tell.
size_t resident_peak();
// Starts the mark anew from what is resident now; false where the system does not allow it.
bool reset_resident_peak();

}  // namespace noisysgd::bench
