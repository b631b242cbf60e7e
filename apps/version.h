// The version of this build. project() in the top CMakeLists.txt states the number; apps/version.cmake finds the commit
// whenever something is built.
#pragma once

#include <string>

namespace noisysgd {

std::string version();  // "0.1.0"
// The first 12 digits of the commit, with "+changes" if files under version control differed from it; "unknown" if the
// source was no git checkout, such as a release's tarball.
std::string commit();
std::string compiler();      // "GCC 12.2.0"
std::string version_line();  // of --version: "0.1.0, commit c8fdcc6a1b2c, GCC 12.2.0"

}  // namespace noisysgd
