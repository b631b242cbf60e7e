#include <noisysgd/apps/program.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <exception>
#include <filesystem>
#include <new>
#include <sstream>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/memory_refused.h>
#include <noisysgd/apps/version.h>

namespace noisysgd {
namespace {

// If a standard descriptor were closed, the next file to be opened would get its number and receive the output.
void open_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor)
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) ::open("/dev/null", O_RDWR);  // uses the lowest free number
}

int run_body(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  const std::string& name = app.get_name();
  try {
    app.set_version_flag("--version", version_line());
    check_arguments(argc, argv);
    app.parse(argc, argv);
    return body();
  } catch (const CLI::ParseError& error) {
    std::ostringstream output, errors;
    const int status = app.exit(error, output, errors);
    const bool is_help =
        dynamic_cast<const CLI::CallForHelp*>(&error) || dynamic_cast<const CLI::CallForAllHelp*>(&error);
    print_out("{}", is_help ? fitted_help(output.str()) : output.str());
    print_error("{}", errors.str());
    return status;
  } catch (const std::bad_alloc&) {
    print_error("{}: out of memory\n", name);
  } catch (const std::filesystem::filesystem_error& error) {  // what() names functions, not files
    print_error("{}: {}: {}\n", name, error.path1().string(), error.code().message());
  } catch (const std::exception& error) {
    print_error("{}: {}\n", name, error.what());
  }
  return 1;
}

}  // namespace

void add_schema_flag(CLI::App& app, std::function<Json()> schema) {
  const auto print = [=] { throw CLI::CallForVersion(schema().dump(2), 0); };
  app.add_flag_callback("--schema", print, "JSON Schema of a CONFIG, for an editor");
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  open_standard_descriptors();
  end_program_if_out_of_memory(app.get_name());
  std::signal(SIGXFSZ, SIG_IGN);  // the write fails with EFBIG instead
  std::signal(SIGPIPE, SIG_IGN);  // and with EPIPE if the reader has gone: the run continues without its output
  return finish_output(app.get_name(), run_body(app, argc, argv, body));
}

}  // namespace noisysgd
