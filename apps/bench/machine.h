// Describes the machine and the software of a benchmark. The processor's model is all that identifies the machine.
#pragma once

#include <string>

#include <noisysgd/core/json.h>

namespace noisysgd::bench {

// {"date", "processor", "cores", "threads", "isa", "version", "compiler", "onednn", "openblas"}
Json describe_machine(int threads);

// High-water mark of the process's resident memory in bytes; 0 if the system does not report it.
size_t resident_peak();
// Resets the high-water mark to the current resident memory; false if the system does not allow it.
bool reset_resident_peak();

}  // namespace noisysgd::bench
