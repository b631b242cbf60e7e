// What becomes of a request for memory that fails where no exception can pass: in a destructor, or inside a parallel
// region.
#pragma once

#include <string>

namespace noisysgd {

// From here on such a failure ends the program with one line on standard error and status 1.
void end_by_a_line_without_memory(const std::string& program);

}  // namespace noisysgd
