#include <noisysgd/core/glob.h>

#include <fnmatch.h>

#include <algorithm>

#include <noisysgd/core/parameter.h>
#include <noisysgd/core/utf8.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

bool matches_glob(const std::string& glob, std::string_view name) {
  return fnmatch(glob.c_str(), std::string(name).c_str(), 0) == 0;
}

void check_glob(std::string_view where, const std::string& glob, const std::vector<Parameter*>& parameters) {
  const bool used = std::any_of(parameters.begin(), parameters.end(),
                                [&](const Parameter* parameter) { return matches_glob(glob, parameter->name); });
  NSGD_CHECK(used, "{}: \"{}\" matches no parameter of this network", where, shortened(glob, 80));
}

}  // namespace noisysgd
