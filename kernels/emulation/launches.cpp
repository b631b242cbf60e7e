#include <noisysgd/kernels/emulation/launches.h>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <string_view>

namespace noisysgd::emulation {

namespace {

struct Counts {
  std::map<const void*, int64_t> kernels;
  std::map<std::string, int64_t> libraries;
};
Counts& counts() {
  static Counts& instance = *new Counts;  // never destroyed: launches may come from destructors of statics
  return instance;
}

}  // namespace

std::string base_name(const void* kernel) {
  constexpr std::string_view suffix = "_kernel";
  const char* symbol = "?";
  cudaFuncGetName(&symbol, kernel);
  const std::string_view name = symbol;
  const size_t end = name.find(suffix);
  if (end == std::string_view::npos) return symbol;
  const size_t before = name.find_last_of(" :", end);
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;
  return std::string(name.substr(begin, end + suffix.size() - begin));
}

std::map<std::string, int64_t> launches() {
  std::map<std::string, int64_t> all = counts().libraries;
  for (const auto& [kernel, count] : counts().kernels) all[base_name(kernel)] += count;
  return all;
}

void reset_launches() { counts() = {}; }

std::string list_of(const std::map<std::string, int64_t>& launches) {
  std::string list;
  for (const auto& [name, count] : launches) list += fmt::format("{:4} × {}\n", count, name);
  return list;
}

void count_launch(const void* kernel) { ++counts().kernels[kernel]; }
void count_library_call(const char* library) { ++counts().libraries[library]; }

}  // namespace noisysgd::emulation
