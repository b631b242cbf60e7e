#include <noisysgd/apps/names.h>

#include <fmt/format.h>

#include <string_view>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/suite.h>
#include <noisysgd/core/utf8.h>

namespace noisysgd {

namespace {

constexpr size_t longest_name = 200;  // bytes; file systems allow 255, including a number after the name

// The beginnings of the names of files that a run or a suite writes into its folder.
constexpr std::string_view own_files[] = {
    experiment_file,        config_file,     summary_file, divergence_file,        checkpoint_file,
    "events.out.tfevents.", metrics_file,    "table.",     kept_checkpoint_prefix, best_checkpoint_file};

bool is_seed_folder(std::string_view name) {
  return name.starts_with("seed-") && name.size() > 5 && name.find_first_not_of("0123456789", 5) == name.npos;
}

std::string cannot(const std::string& name, const std::string& reason) {
  return fmt::format("{} cannot name a folder: {}", Json(name).dump(-1, ' ', false, Json::error_handler_t::replace),
                     reason);
}

}  // namespace

std::string folder_name_problem(const std::string& name) {
  if (name.empty()) return cannot(name, "it is empty");
  if (name.find('/') != std::string::npos) return cannot(name, "it holds a '/'");
  if (name.front() == '.') return cannot(name, "it begins with a dot");
  if (has_control_characters(name)) return cannot(name, "it holds a control character");
  if (name.size() > longest_name) return cannot(name, fmt::format("it has more than {} bytes", longest_name));
  return {};
}

std::string regime_name_problem(const std::string& name) {
  for (const std::string_view file : own_files)
    if (name.starts_with(file)) return cannot(name, fmt::format("\"{}\" begins the name of a file of the runs", file));
  if (name == tuning_folder) return cannot(name, "it is the name of the folder of a tuning");
  if (is_seed_folder(name)) return cannot(name, "it is the name of a seed's folder");
  return folder_name_problem(name);
}

}  // namespace noisysgd
