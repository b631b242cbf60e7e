// Handles allocations that fail where no exception can propagate: in a destructor, or inside a parallel region.
#pragma once

#include <string>

namespace noisysgd {

// After this call, such a failure ends the program with one line on standard error and status 1.
void end_program_if_out_of_memory(const std::string& program);

}  // namespace noisysgd
