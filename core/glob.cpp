#include <noisysgd/core/glob.h>

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <iterator>

#include <noisysgd/core/parameter.h>
#include <noisysgd/core/suggest.h>
#include <noisysgd/core/utf8.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

bool matches_glob(const std::string& glob, std::string_view name) {
  return fnmatch(glob.c_str(), std::string(name).c_str(), 0) == 0;
}

// What a glob may have meant: whole names, all of a layer, one kind of parameter in all layers.
static std::vector<std::string> likely_globs(const std::vector<Parameter*>& parameters) {
  std::vector<std::string> globs, wide;
  for (const Parameter* parameter : parameters) {
    const std::string& name = parameter->name;
    const size_t dot = name.rfind('.');
    globs.push_back(name);
    if (dot == std::string::npos) continue;
    wide.push_back(name.substr(0, dot) + ".*");
    wide.push_back("*" + name.substr(dot));
  }
  std::ranges::copy(wide, std::back_inserter(globs));
  return globs;
}

void check_glob(std::string_view where, const std::string& glob, const std::vector<Parameter*>& parameters) {
  const bool used = std::any_of(parameters.begin(), parameters.end(),
                                [&](const Parameter* parameter) { return matches_glob(glob, parameter->name); });
  if (used) return;
  std::string message = fmt::format("{}: \"{}\" matches no parameter of this network", where, shortened(glob, 80));
  constexpr size_t shown = 6;
  if (const std::string near = nearest_name(glob, likely_globs(parameters)); !near.empty()) {
    message += fmt::format("; did you mean \"{}\"?", near);
  } else if (!parameters.empty()) {
    std::vector<std::string> first;
    for (const Parameter* parameter : parameters)
      if (first.size() < shown) first.push_back(parameter->name);
    message += fmt::format("; it has {}{}", quoted_list(first),
                           parameters.size() > shown ? fmt::format(" and {} more", parameters.size() - shown) : "");
  }
  throw Error(message);
}

}  // namespace noisysgd
