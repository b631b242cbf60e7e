// Which names can stand for folders of runs.
#pragma once

#include <string>

namespace noisysgd {

// What keeps a name from naming a folder, as a message: not a text of printable characters and moderate length, or one
// with '/' or a dot in front. Empty: nothing does.
std::string folder_name_problem(const std::string& name);

// The same of a regime, whose folder stands beside the files of its suite.
std::string regime_name_problem(const std::string& name);

}  // namespace noisysgd
