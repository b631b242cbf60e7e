// Arguments of the programs, which all read them in the same way.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace noisysgd {

// Throws CLI::ValidationError for an argument that is not UTF-8, as no file that is written could name it, and for one
// that is empty, as a variable of the shell may be.
void check_arguments(int argc, const char* const* argv);

// An option that may come several times, each with one value, so that it can stand before the positional ones.
CLI::Option* add_repeated(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                          const std::string& description);

// "~" and "~/…" by the home folder: a shell does so only where a word begins with it, and not in --output=~/runs.
std::string path_of_argument(const std::string& text);

// An option, or a positional argument, that is a path.
template <class Path>
CLI::Option* add_path(CLI::App& app, const std::string& name, Path& path, const std::string& description) {
  return app.add_option(name, path, description)->transform(path_of_argument);
}

// For ->transform() of an option that takes a whole number: decimal digits, leading zeros among them, from low to high.
CLI::Validator whole_number(int64_t low, int64_t high);
inline constexpr int64_t largest_seed = INT64_MAX;  // that of a configuration
inline constexpr int64_t most_threads = 4096;

}  // namespace noisysgd
