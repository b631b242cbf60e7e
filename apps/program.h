// What every program's main does around its body.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace noisysgd {

// Parses the arguments and runs `body`. Returns the exit status: the body's; 1 for an exception, which is told in one
// line on standard error; 100 to 127 for arguments that CLI11 refuses. Standard descriptors that are closed are opened
// on /dev/null first, and a file that meets the system's limit of size is an error like a full disk.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

}  // namespace noisysgd
