// Runs gnuplot as a child process.
#pragma once

#include <optional>
#include <string>

namespace noisysgd {

// What gnuplot prints on standard output for a script on its standard input: the picture, if the script sets no output
// file. The user's own gnuplot settings are not read. Nothing if there is no gnuplot in PATH. Throws Error with
// gnuplot's message if it fails.
std::optional<std::string> run_gnuplot(const std::string& script);

}  // namespace noisysgd
