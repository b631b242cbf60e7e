#include "apps/arguments.h"

#include "core/printable.h"
#include "core/utf8.h"
#include "data/file.h"

namespace noisysgd {

void check_arguments(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i)
    if (!is_utf8(argv[i])) throw CLI::ValidationError(printable(argv[i]), "is not UTF-8");
}

CLI::Option* add_repeated(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                          const std::string& description) {
  return app.add_option(name, values, description)->take_all()->allow_extra_args(false);
}

std::string path_of_argument(const std::string& text) { return expand_home(text).string(); }

}  // namespace noisysgd
