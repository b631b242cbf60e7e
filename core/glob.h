// Patterns for parameter names: * and ? and [abc] as in a shell, "layer*.bn2.weight".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace noisysgd {

struct Parameter;

bool matches_glob(const std::string& glob, std::string_view name);

// Throws Error that begins with `where` ("noise.parameters") and names what is near if no parameter has such a name.
void check_glob(std::string_view where, const std::string& glob, const std::vector<Parameter*>& parameters);

}  // namespace noisysgd
