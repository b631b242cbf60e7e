// Runs one of the project's programs as a user would: a process of its own, standard output and error caught in files.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <noisysgd/core/file.h>

namespace noisysgd::test {

struct CommandResult {
  int status = -1;  // exit status, or 128 + the signal that ended it
  std::string output, error;
};

class Command {
 public:
  // Starts `program` with `arguments` in `folder`, where its output files are kept.
  Command(const std::string& program, const std::vector<std::string>& arguments, const std::filesystem::path& folder)
      : output_(folder / "command.out"), error_(folder / "command.err") {
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    process_ = ::fork();
    if (process_ < 0) throw std::runtime_error("fork");
    if (process_ > 0) return;
    redirect(output_, STDOUT_FILENO);
    redirect(error_, STDERR_FILENO);
    if (::chdir(folder.c_str()) != 0) ::_exit(126);
    ::execv(program.c_str(), pointers.data());
    ::_exit(127);
  }
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  ~Command() {
    if (process_ > 0) kill(SIGKILL), wait();
  }

  void kill(int signal) const { ::kill(process_, signal); }

  pid_t process() const { return process_; }

  CommandResult wait() {
    int status = 0;
    if (::waitpid(std::exchange(process_, -1), &status, 0) < 0) throw std::runtime_error("waitpid");
    return result(status);
  }

  // Sends `signal` every millisecond until the program ends.
  CommandResult wait_under(int signal) {
    int status = 0;
    while (::waitpid(process_, &status, WNOHANG) == 0) {
      kill(signal);
      ::usleep(1000);
    }
    process_ = -1;
    return result(status);
  }

 private:
  CommandResult result(int status) const {
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(output_), read_file(error_)};
  }

  static void redirect(const std::filesystem::path& path, int descriptor) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ::dup2(file, descriptor) < 0) ::_exit(125);
  }

  std::filesystem::path output_, error_;
  pid_t process_ = -1;
};

}  // namespace noisysgd::test
