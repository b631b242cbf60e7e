#include <noisysgd/apps/analysis/gnuplot.h>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include <noisysgd/kernels/check.h>

extern char** environ;

namespace noisysgd {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, Close>;  // without a name; gone when closed

TemporaryFile make_temporary() {
  TemporaryFile file(std::tmpfile());
  NSGD_CHECK(file, "gnuplot: no temporary file can be made: {}", std::strerror(errno));
  return file;
}

std::string read_all(std::FILE* file) {
  std::string text;
  std::array<char, 65536> bytes{};
  std::rewind(file);
  for (size_t got = 0; (got = std::fread(bytes.data(), 1, bytes.size(), file)) > 0;) text.append(bytes.data(), got);
  NSGD_CHECK(!std::ferror(file), "gnuplot: its output cannot be read back");
  return text;
}

// The last line that says something: gnuplot quotes the script and points at the place first.
std::string message_of(const std::string& printed) {
  const size_t end = printed.find_last_not_of(" \t\n");
  if (end == std::string::npos) return "no message";
  const size_t begin = printed.find_last_of('\n', end);
  return printed.substr(begin + 1, end - begin);  // npos + 1 is 0
}

}  // namespace

std::optional<std::string> run_gnuplot(const std::string& script) {
  // Files and not pipes: neither process ever waits for the other to read.
  const TemporaryFile input = make_temporary(), output = make_temporary(), errors = make_temporary();
  NSGD_CHECK(std::fwrite(script.data(), 1, script.size(), input.get()) == script.size() &&
                 std::fflush(input.get()) == 0 && std::fseek(input.get(), 0, SEEK_SET) == 0,
             "gnuplot: its script cannot be written: {}", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(input.get()), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(output.get()), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(errors.get()), STDERR_FILENO);
  std::array<char, 8> name{"gnuplot"};
  std::array<char, 3> defaults{"-d"};  // ~/.gnuplot is not read
  char* const arguments[] = {name.data(), defaults.data(), nullptr};
  pid_t process = -1;
  const int error = ::posix_spawnp(&process, "gnuplot", &actions, nullptr, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return {};
  NSGD_CHECK(error == 0, "gnuplot: cannot be started: {}", std::strerror(error));
  int status = 0;
  while (::waitpid(process, &status, 0) < 0)
    NSGD_CHECK(errno == EINTR, "gnuplot: its end is not known: {}", std::strerror(errno));
  NSGD_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "gnuplot: failed: {}", message_of(read_all(errors.get())));
  return read_all(output.get());
}

}  // namespace noisysgd
