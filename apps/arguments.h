// Command-line arguments, read in the same way by all programs.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace noisysgd {

// Throws CLI::ValidationError for an argument that is not UTF-8, because the files that a program writes could not
// contain it, and for an empty argument, which an unset shell variable can cause.
void check_arguments(int argc, const char* const* argv);

// Adds an option that may be repeated. Each occurrence takes exactly one value, so positional arguments may follow it.
CLI::Option* add_repeated(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                          const std::string& description);

// Replaces the "~" of "~" and "~/…" by the home folder. A shell does so only at the beginning of a word, not in
// --output=~/runs.
std::string path_of_argument(const std::string& text);

// Adds an option, or a positional argument, that is a path.
template <class Path>
CLI::Option* add_path(CLI::App& app, const std::string& name, Path& path, const std::string& description) {
  return app.add_option(name, path, description)->transform(path_of_argument);
}

// For ->transform() of an option that takes a whole number from low to high: decimal digits, leading zeros allowed.
CLI::Validator whole_number(int64_t low, int64_t high);
inline constexpr int64_t largest_seed = INT64_MAX;  // the limit in a configuration, too
inline constexpr int64_t most_threads = 4096;

// A help text in lines of at most 80 columns, broken at spaces. An explanation goes on in the column where it begins.
std::string fitted_help(std::string_view help);

}  // namespace noisysgd
