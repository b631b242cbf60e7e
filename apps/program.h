// The common part of every program's main.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include <noisysgd/core/json.h>

namespace noisysgd {

// Adds --version, parses the arguments and runs `body`. Returns the exit status: the body's; 1 after an exception, which
// is reported in one line on standard error; 100 to 127 for arguments that CLI11 refuses. Before that, closed standard
// descriptors are opened on /dev/null, and a file that reaches the system's size limit becomes an error like a full disk.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

// Adds --schema, which prints the JSON Schema of the configuration and stops, as --help does.
void add_schema_flag(CLI::App& app, std::function<Json()> schema);

}  // namespace noisysgd
