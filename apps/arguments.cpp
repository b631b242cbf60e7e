#include <noisysgd/apps/arguments.h>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include <noisysgd/core/printable.h>
#include <noisysgd/core/text_table.h>
#include <noisysgd/core/utf8.h>
#include <noisysgd/data/file.h>

namespace noisysgd {

namespace {

constexpr size_t help_columns = 80;

// Where what follows a break of a line begins: below the explanation of "  --option      explanation". None for an
// option whose explanation is in the next line: its names and choices stay together.
std::optional<size_t> column_of_explanation(std::string_view line) {
  constexpr size_t deepest_entry = 8;  // explanations alone in a line begin further right
  const size_t begin = std::min(line.find_first_not_of(' '), line.size());
  if (begin == 0 || begin > deepest_entry) return begin;
  const size_t gap = line.find("  ", begin);
  return gap == line.npos ? std::optional<size_t>() : std::min(line.find_first_not_of(' ', gap), line.size());
}

// The line in lines that fit.
std::string fitted(std::string line) {
  std::string done;
  const std::optional<size_t> column = column_of_explanation(line);
  if (!column) return line;
  const std::string margin(*column, ' ');
  while (display_width(line) > help_columns) {
    size_t end = line.npos;  // the last space that fits, or the first if the word before it is too long
    for (size_t space = line.find(' ', margin.size()); space != line.npos; space = line.find(' ', space + 1)) {
      if (end != line.npos && display_width(std::string_view(line).substr(0, space)) > help_columns) break;
      end = space;
    }
    if (end == line.npos) break;
    done += line.substr(0, end) + "\n";
    line = margin + line.substr(end + 1);
  }
  return done + line;
}

}  // namespace

void check_arguments(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    if (!is_utf8(argv[i])) throw CLI::ValidationError(printable(argv[i]), "is not UTF-8");
    if (*argv[i] == '\0')
      throw CLI::ValidationError(fmt::format("argument {}, after {}", i, argv[i - 1]),
                                 "is empty; a shell variable may have no value");
  }
}

CLI::Option* add_repeated(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                          const std::string& description) {
  return app.add_option(name, values, description + "; may be repeated")->take_all()->allow_extra_args(false);
}

std::string path_of_argument(const std::string& text) { return expand_home(text).string(); }

CLI::Validator whole_number(int64_t low, int64_t high) {
  const auto check = [=](std::string& text) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < low || number > high)
      return fmt::format("{} is no whole number from {} to {}", text, low, high);
    text = std::to_string(number);  // without leading zeros, which CLI11 reads as octal
    return std::string();
  };
  return CLI::Validator(check, fmt::format("{} to {}", low, high));
}

std::string fitted_help(std::string_view help) {
  std::string text;
  for (size_t begin = 0; begin < help.size();) {
    const size_t end = std::min(help.find('\n', begin), help.size());
    text += fitted(std::string(help.substr(begin, end - begin)));
    if (end < help.size()) text += '\n';
    begin = end + 1;
  }
  return text;
}

}  // namespace noisysgd
