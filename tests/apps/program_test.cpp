// Common parts of every program's main.
#include <noisysgd/apps/program.h>
#include <noisysgd/apps/version.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <regex>

#include <noisysgd/core/file.h>
#include "tests/apps/command.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// What a program of this body prints on standard error, as a user whom permissions bind.
std::string error_of_program(const std::function<int()>& body) {
  std::fflush(stdout);
  std::array<int, 2> pipe{};
  REQUIRE(::pipe(pipe.data()) == 0);
  const pid_t process = ::fork();
  REQUIRE(process >= 0);
  if (process == 0) {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) ::_exit(125);
    ::dup2(pipe[1], STDERR_FILENO);
    CLI::App app("", "program");
    std::array<char, 8> name{"program"};
    char* arguments[] = {name.data(), nullptr};
    ::_exit(run_program(app, 1, arguments, body));
  }
  ::close(pipe[1]);
  std::string printed;
  std::array<char, 4096> bytes{};
  for (ssize_t got = 0; (got = ::read(pipe[0], bytes.data(), bytes.size())) > 0;)
    printed.append(bytes.data(), static_cast<size_t>(got));
  ::close(pipe[0]);
  int status = 0;
  REQUIRE(::waitpid(process, &status, 0) == process);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
  return printed;
}

}  // namespace

TEST_CASE("a folder that may not be entered is named with the reason") {
  const TemporaryFolder folder;
  const std::filesystem::path inside = folder / "inside";
  std::filesystem::permissions(folder.path(), std::filesystem::perms::none);
  CHECK(error_of_program([&] { return std::filesystem::exists(inside) ? 0 : 1; }) ==
        "program: " + inside.string() + ": Permission denied\n");
  CHECK(error_of_program([&] {
          for (const auto& entry : std::filesystem::directory_iterator(folder.path())) (void)entry;
          return 0;
        }) == "program: " + folder.path().string() + ": Permission denied\n");
}

TEST_CASE("every program prints its version") {
  const TemporaryFolder folder;
  for (const char* program : {NSGD_BENCH_PROGRAM, NSGD_DATA_PROGRAM, NSGD_INSPECT_PROGRAM, NSGD_NOISE_PICTURES_PROGRAM,
                              NSGD_REPORT_PROGRAM, NSGD_TRAIN_PROGRAM}) {
    const CommandResult result = Command(program, {"--version"}, folder.path()).wait();
    CHECK(result.status == 0);
    CHECK(result.output == version_line() + "\n");
  }
  CHECK(version_line().starts_with(version() + ", commit " + commit() + ", "));
  CHECK(std::regex_match(commit(), std::regex(R"([0-9a-f]{12,40}(\+changes)?|unknown)")));
}

TEST_CASE("the version is that of the change log and of the citation") {
  const std::filesystem::path source = NSGD_SOURCE_DIR;
  CHECK(contains(read_file(source / "CHANGELOG.md"), "\n## " + version() + "\n"));
  CHECK(contains(read_file(source / "CITATION.cff"), "\nversion: " + version() + "\n"));
}

TEST_CASE("the pictures of noise are written into a new folder") {
  const TemporaryFolder folder;
  const CommandResult result =
      Command(NSGD_NOISE_PICTURES_PROGRAM, {"--output", "new/pictures"}, folder.path()).wait();
  INFO(result.error);
  CHECK(result.status == 0);
  for (const char* name : {"isotropic.svg", "diagonal_fisher.svg", "kfac.svg"})
    CHECK(contains(read_file(folder / "new/pictures" / name), "</svg>"));
  CHECK(result.output.ends_with("\nwritten to new/pictures\n"));
  CHECK(contains(Command(NSGD_NOISE_PICTURES_PROGRAM, {"--output", "command.out/pictures"}, folder.path()).wait().error,
                 "command.out/pictures: cannot be made"));
}
