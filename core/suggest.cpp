#include <noisysgd/core/suggest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <numeric>
#include <vector>

namespace noisysgd {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

// Optimal string alignment; three rows of the table are alive at a time.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(above.begin(), above.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

// The known name that begins with this one, if there is just one: "diag" is short for "diagonal_fisher".
std::string only_completion(std::string_view name, std::span<const std::string> known) {
  constexpr std::size_t shortest = 3;
  const auto completes = [&](const std::string& candidate) { return lower(candidate).starts_with(lower(name)); };
  if (name.size() < shortest || std::ranges::count_if(known, completes) != 1) return "";
  return *std::ranges::find_if(known, completes);
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> known) {
  std::string nearest;
  std::size_t least = name.size();  // a distance of the whole length means no resemblance
  for (const std::string& candidate : known) {
    const std::size_t limit = std::max<std::size_t>(1, std::max(name.size(), candidate.size()) / 3);
    const std::size_t length_gap = std::max(name.size(), candidate.size()) - std::min(name.size(), candidate.size());
    if (length_gap > limit || length_gap >= least) continue;
    const std::size_t found = distance(lower(name), lower(candidate));
    if (found <= limit && found < least) {
      least = found;
      nearest = candidate;
    }
  }
  return nearest.empty() ? only_completion(name, known) : nearest;
}

std::string suggestion(std::string_view name, std::span<const std::string> known) {
  if (known.empty()) return "";
  const std::string nearest = nearest_name(name, known);
  return nearest.empty() ? fmt::format("; known: {}", quoted_list(known))
                         : fmt::format("; did you mean \"{}\"?", nearest);
}

std::string shell_quoted(std::string_view text) {
  if (text.find_first_of("\"$`\\!'") == std::string_view::npos) return fmt::format("\"{}\"", text);
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string quoted_list(std::span<const std::string> names) {
  std::string list;
  for (const std::string& name : names) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", name);
  return list;
}

}  // namespace noisysgd
