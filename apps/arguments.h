// Arguments of the programs, which all read them in the same way.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace noisysgd {

// Throws CLI::ValidationError for an argument that is not UTF-8: no file that is written could name it.
void check_arguments(int argc, const char* const* argv);

// An option that may come several times, each with one value, so that it can stand before the positional ones.
CLI::Option* add_repeated(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                          const std::string& description);

}  // namespace noisysgd
