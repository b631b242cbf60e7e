// Function names and source lines from this executable's symbol table and debug information.
#pragma once

#include <string>
#include <vector>

namespace noisysgd::emulation {

// Demangled symbols of all functions in unnamed namespaces whose name ends in _kernel.
std::vector<std::string> kernels_of_executable();

// file:line of a call, found by addr2line; "?" if addr2line is missing.
std::string source_line(void* return_address);

}  // namespace noisysgd::emulation
