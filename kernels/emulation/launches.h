// Counts what a GPU would run as kernels: the kernels, and the calls of cuBLAS and cuDNN, which are at least one each.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace noisysgd::emulation {

// Kernels run since the process started or reset_launches(), by name without template arguments; "cuBLAS" and "cuDNN"
// are the libraries' calls. A replayed graph counts like the launches that it repeats.
std::map<std::string, int64_t> launches();
void reset_launches();

// A line for each name: "  45 × normalise_kernel".
std::string list_of(const std::map<std::string, int64_t>& launches);

void count_launch(const void* kernel);
void count_library_call(const char* library);
// "normalise_kernel"
std::string base_name(const void* kernel);

}  // namespace noisysgd::emulation
