#include <noisysgd/apps/arguments.h>

#include <fmt/format.h>

#include <charconv>

#include <noisysgd/core/printable.h>
#include <noisysgd/core/utf8.h>
#include <noisysgd/data/file.h>

namespace noisysgd {

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

}  // namespace noisysgd
