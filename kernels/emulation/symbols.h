// What this executable's symbol table and debug information say about its code.
#pragma once

#include <string>
#include <vector>

namespace noisysgd::emulation {

// Demangled symbols of all functions in unnamed namespaces whose name ends in _kernel.
std::vector<std::string> kernels_of_executable();

// file:line of a call, found by addr2line; "?" where that is missing.
std::string source_line(void* return_address);

}  // namespace noisysgd::emulation
