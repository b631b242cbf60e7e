// Checks the names that become folders of runs.
#pragma once

#include <string>

namespace noisysgd {

// Why `name` cannot be the name of a folder, as a message; empty if it can. It must not be empty or too long, contain
// '/' or control characters, or begin with a dot.
std::string folder_name_problem(const std::string& name);

// The same for a regime. Its folder is next to the files of its suite, so it must not have one of their names either.
std::string regime_name_problem(const std::string& name);

}  // namespace noisysgd
