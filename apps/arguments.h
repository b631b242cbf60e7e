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

// "~" and "~/…" by the home folder: a shell does so only where a word begins with it, and not in --output=~/runs.
std::string path_of_argument(const std::string& text);

// An option, or a positional argument, that is a path.
template <class Path>
CLI::Option* add_path(CLI::App& app, const std::string& name, Path& path, const std::string& description) {
  return app.add_option(name, path, description)->transform(path_of_argument);
}

}  // namespace noisysgd
