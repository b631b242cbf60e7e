#include <noisysgd/core/known_keys.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include <noisysgd/core/suggest.h>

namespace noisysgd {

namespace {

struct Alias {
  const char *name, *key;  // a key of other programs, without "_" and "-"; the key or the end of its path here
};

constexpr Alias aliases[]{
    {"lr", "learning_rate"},       {"rate", "learning_rate"},
    {"stepsize", "learning_rate"}, {"eta", "learning_rate"},
    {"alpha", "learning_rate"},    {"bs", "batch.size"},
    {"batchsize", "batch.size"},   {"wd", "weight_decay"},
    {"l2", "weight_decay"},        {"mom", "momentum"},
    {"opt", "optimizer"},          {"optim", "optimizer"},
    {"scheduler", "schedule"},     {"net", "model"},
    {"network", "model"},          {"arch", "model"},
    {"dataset", "data"},           {"nepochs", "epochs"},
    {"numepochs", "epochs"},       {"maxepochs", "epochs"},
    {"numthreads", "threads"},     {"nesterovmomentum", "nesterov"},
    {"gradclip", "clip_norm"},     {"clip", "clip_norm"},
    {"ema", "weight_average"},     {"randomseed", "seed"},
    {"accumulate", "batch.micro"}, {"microbatch", "batch.micro"},
    {"ghostbatch", "ghost_size"},  {"valid", "holdout"},
    {"validation", "holdout"},     {"pretrained", "weights"},
    {"frozen", "freeze"},
};

// In lower case, without "_" and "-".
std::string plain(std::string_view name) {
  std::string result;
  for (const char c : name)
    if (c != '_' && c != '-') result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

std::string last_key(const std::string& path) { return path.substr(path.rfind('.') + 1); }

bool is_or_ends_with(const std::string& path, std::string_view end) {
  return path == end || path.ends_with("." + std::string(end));
}

// The paths that end with what the alias stands for.
std::vector<std::string> meant_by_alias(std::string_view key, std::span<const std::string> paths) {
  std::vector<std::string> found;
  for (const Alias& alias : aliases)
    for (const std::string& path : paths)
      if (plain(key) == alias.name && is_or_ends_with(path, alias.key)) found.push_back(path);
  return found;
}

std::string did_you_mean(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  for (const std::string& name : names) quoted.push_back(fmt::format("\"{}\"", name));
  return fmt::format("; did you mean {}?", fmt::join(quoted, " or "));
}

}  // namespace

std::string key_suggestion(std::string_view key, std::span<const std::string> here,
                           std::span<const std::string> everywhere) {
  constexpr size_t most = 3;  // a key of more objects, such as "type", hints at none
  std::vector<std::string> found;
  for (const std::string& own : here)
    if (plain(own) == plain(key)) found.push_back(own);
  for (const Alias& alias : aliases)
    for (const std::string& own : here)
      if (plain(key) == alias.name && own == last_key(alias.key)) found.push_back(own);
  if (!found.empty()) return did_you_mean({found.front()});
  if (const std::string nearest = nearest_name(key, here); !nearest.empty()) return did_you_mean({nearest});

  for (const std::string& path : everywhere)
    if (plain(last_key(path)) == plain(key)) found.push_back(path);
  if (found.empty()) found = meant_by_alias(key, everywhere);
  if (found.empty()) {
    std::vector<std::string> keys;
    for (const std::string& path : everywhere) keys.push_back(last_key(path));
    if (const std::string nearest = nearest_name(key, keys); !nearest.empty())
      for (const std::string& path : everywhere)
        if (last_key(path) == nearest) found.push_back(path);
  }
  if (!found.empty() && found.size() <= most) return did_you_mean(found);
  return suggestion(key, here);
}

}  // namespace noisysgd
