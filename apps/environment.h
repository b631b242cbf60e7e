// Describes the build and the machine, for the records of runs, analyses and benchmarks. Nothing identifies the machine
// beyond its models of hardware.
#pragma once

#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd {

// {"commit", "compiler", "processor", "isa", "onednn", "openblas"}; for a queue of a CUDA device also what
// kernels::cuda::describe_device returns, and the implementation of "convolutions".
Json describe_environment(kernels::Queue& queue);

// The value after "key   : " in the first line of a file of the system that begins with the key; empty if there is
// none.
std::string system_value(const char* path, std::string_view key);

}  // namespace noisysgd
