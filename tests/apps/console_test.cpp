// Output for a person: closed and full descriptors, narrow and dumb terminals, and hostile names.
#include <noisysgd/apps/console.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <sstream>

#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/work_left.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include <noisysgd/core/utf8.h>
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

// Assignments under which the loss is not finite in the first epoch.
constexpr const char* diverging = R"(--set optimizer.learning_rate=1e30 --set 'model={"type": "mlp", "hidden": [8]}' )";

int columns_of(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// All that a command line prints on a terminal of this width.
std::string on_terminal(const Workplace& place, const std::string& line, int width) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(terminal >= 0);
  REQUIRE(::grantpt(terminal) == 0);
  REQUIRE(::unlockpt(terminal) == 0);
  const std::string name = ::ptsname(terminal);
  const int held = ::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);  // reads end only when the last one is closed
  const winsize size{.ws_row = 24, .ws_col = static_cast<unsigned short>(width), .ws_xpixel = 0, .ws_ypixel = 0};
  REQUIRE(::ioctl(terminal, TIOCSWINSZ, &size) == 0);
  Command command = place.shell("exec > " + name + " 2>&1; " + line);
  std::string shown;
  std::thread reader([&] {
    std::array<char, 4096> bytes{};
    for (ssize_t got = 0; (got = ::read(terminal, bytes.data(), bytes.size())) > 0;)
      shown.append(bytes.data(), static_cast<size_t>(got));
  });
  command.wait();
  ::close(held);
  reader.join();
  ::close(terminal);
  return shown;
}

}  // namespace

TEST_CASE("the live line fits into the available columns and drops its least important parts") {
  const ProgressState state{.epoch = 11,
                            .epochs = 200,
                            .step = 123456,
                            .steps = 1000000,
                            .loss = 0.12345,
                            .accuracy = 0.98765,
                            .samples_per_second = 123456,
                            .seconds_left = 12345};
  const int columns = GENERATE(1, 20, 40, 60, 79, 80, 81, 100, 120, 200);
  const std::string line = step_line("LB+Diag seed 1", state, true, columns);
  INFO(columns << ": " << line);
  for (int width = 1; width <= 200; ++width) {
    const std::string fitting = step_line("LB+Diag seed 1", state, true, width);
    CHECK((columns_of(fitting) < width || fitting == "LB+Diag seed 1"));
  }
  CHECK(contains(line, "loss 0.1235") == (columns >= 40));
  CHECK(contains(line, "3h25m left") == (columns >= 60));
  CHECK(contains(line, "samples/s") == (columns >= 200));
}

TEST_CASE("every line drawn on a terminal fits into its width") {
  const Workplace place;
  const std::string shown = on_terminal(place, "TERM=xterm $TRAIN --output out --set epochs=60", 80);
  REQUIRE(contains(shown, "\r\033[K"));
  int drawn = 0;
  for (size_t begin = shown.find("\r\033[K"); begin != std::string::npos;) {
    const size_t text = begin + 4, end = shown.find_first_of("\r\n", text);
    const std::string line = shown.substr(text, end - text);
    INFO(line);
    if (contains(line, "left")) CHECK(columns_of(line) < 80);
    drawn += contains(line, "left");
    begin = shown.find("\r\033[K", text);
  }
  CHECK(drawn > 0);
}

TEST_CASE("on a terminal narrower than a title a line is cut between characters and contains no control characters") {
  const Workplace place;
  const std::string shown = on_terminal(
      place, R"(TERM=xterm $TRAIN --output out --set 'regimes=[{"name": "größer\u202e×größer×größer"}]')", 12);
  CHECK_FALSE(contains(shown, "\u202e"));
  const std::string clear = "\r\033[K";
  int cut = 0;
  for (size_t begin = shown.find(clear); begin != std::string::npos; begin = shown.find(clear, begin + 1)) {
    const size_t text = begin + clear.size();
    const std::string line = shown.substr(text, shown.find_first_of("\r\n", text) - text);
    INFO(line);
    CHECK(is_utf8(line));
    cut += line == "größer\\u20…";
  }
  CHECK(cut > 0);
}

TEST_CASE("the line of an epoch fits into the columns of a terminal and keeps the epoch's results") {
  const ProgressState state{.epoch = 198,
                            .epochs = 200,
                            .steps = 1,
                            .loss = 0.12345,
                            .accuracy = 0.98765,
                            .samples_per_second = 123456};
  const auto line = [&](int columns) { return epoch_line("LB+Diag seed 1", state, "holdout", 0.5, 0.875, columns); };
  CHECK(line(1000) == "LB+Diag seed 1 epoch 199/200  train loss 0.1235 acc 98.77%  holdout loss 0.5000 acc 87.50%  123456 "
                      "samples/s");
  CHECK(line(80) == "LB+Diag seed 1 epoch 199/200  train 0.1235 98.77%  holdout 0.5000 87.50%");
  CHECK(line(71) == "LB+Diag seed 1 epoch 199/200  train 0.1235  holdout 0.5000 87.50%");
  const std::string shortest = "LB+Diag seed 1 epoch 199/200  holdout 0.5000 87.50%";
  CHECK(line(64) == shortest);
  ProgressState early = state;
  early.epoch = 8;
  CHECK(epoch_line("LB", early, "test", 0.5, 0.875, 60) == "LB epoch   9/200  train 0.1235 98.77%  test 0.5000 87.50%");
  for (int columns = 1; columns <= 200; ++columns)
    CHECK((columns_of(line(columns)) < columns || line(columns) == shortest));

  const Workplace place;
  for (const int columns : {80, 200}) {
    const std::string shown = on_terminal(place, fmt::format("TERM=xterm $TRAIN --output out{}", columns), columns);
    CHECK(contains(shown, "epoch 3/3"));
    CHECK(contains(shown, "samples/s\r\n") == (columns == 200));
  }
}

namespace {

// What is printed on standard output, in a file, while `print` runs in a process of its own.
std::string printed_by(const std::function<void()>& print) {
  const TemporaryFolder folder;
  const std::string path = (folder / "printed").string();
  std::fflush(stdout);
  const pid_t process = ::fork();
  if (process == 0) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(file, STDOUT_FILENO);
    print();
    std::fflush(stdout);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(process, &status, 0) == process);
  REQUIRE(WIFEXITED(status));
  return read_file(path);
}

// The lines without their time of day, which each must have.
std::vector<std::string> without_stamps(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    INFO(line);
    REQUIRE(line.size() > 9);
    const auto digit = [&](size_t i) { return line[i] >= '0' && line[i] <= '9'; };
    for (const size_t i : {0, 1, 3, 4, 6, 7}) CHECK(digit(i));
    CHECK((line[2] == ':' && line[5] == ':' && line[8] == ' '));
    CHECK(columns_of(line) < 80);
    lines.push_back(line.substr(9));
  }
  return lines;
}

}  // namespace

TEST_CASE("off a terminal a line with the time of day follows every 30 seconds and every epoch") {
  const ProgressState state{.epoch = 1,
                            .epochs = 3,
                            .step = 20,
                            .steps = 60,
                            .loss = 0.5,
                            .accuracy = 0.25,
                            .samples_per_second = 1000,
                            .seconds_left = 60,
                            .seconds_left_after = 3600};
  const std::vector<std::string> lines = without_stamps(printed_by([&] {
    const Progress::Clock::time_point start{};
    Progress progress(Progress::Mode::lines, "LB+Diag seed 1", start);
    int asked = 0;
    for (int second = 1; second <= 95; ++second)
      progress.step([&] { return ++asked, state; }, start + std::chrono::seconds(second));
    if (asked == 3) progress.epoch(state, "test", 0.5, 0.875);
  }));
  const std::string step = "LB+Diag seed 1 epoch 2/3 loss 0.5000 1m00s left (1h01m in all)";
  CHECK(lines == std::vector<std::string>{step, step, step,
                                          "LB+Diag seed 1 epoch 2/3  train 0.5000 25.00%  test 0.5000 87.50%"});
}

TEST_CASE("the time left is that of the run and, if others follow, of all") {
  ProgressState state{.epochs = 3, .step = 20, .steps = 60, .seconds_left = 60};
  CHECK(contains(step_line("LB", state, false, 200), " 1m00s left"));
  CHECK_FALSE(contains(step_line("LB", state, false, 200), "in all"));
  state.seconds_left_after = 3600;
  CHECK(contains(step_line("LB", state, false, 200), " 1m00s left (1h01m in all)"));
  CHECK_FALSE(contains(step_line("LB", state, false, 200), "╌"));
}

TEST_CASE("the work that follows a run takes as long as the runs of its regime have, or as the mean of all") {
  WorkLeft work;
  CHECK(work.seconds("LB", 0.5) == 0);
  work.add("LB", 100);
  work.add("LB", 100);
  work.add("SB", 1000);
  work.begin("LB", 100);
  CHECK(work.seconds("LB", 0.5) == Approx(100 * 0.5 + 1000 * 0.5));
  work.measure("LB", 0.5);
  work.begin("LB", 100);
  CHECK(work.seconds("SB", 0.1) == Approx(1000 * 0.1));
  work.begin("SB", 1000);
  work.set_later(10);
  CHECK(work.seconds("SB", 0.1) == Approx(10 * 0.3));
}

TEST_CASE("durations are shown in two units at most, rounded to the last") {
  const std::pair<double, const char*> expected[] = {{0, "0s"},       {59.4, "59s"},      {59.6, "1m00s"},
                                                     {187, "3m07s"},  {3599.4, "59m59s"}, {3599.6, "1h00m"},
                                                     {7530, "2h05m"}, {90000, "25h00m"}};
  for (const auto& [seconds, text] : expected) CHECK(format_duration(seconds) == text);
}

TEST_CASE("a dumb terminal, and a person who wants no colours, gets plain lines") {
  const Workplace place;
  const std::string variables = GENERATE(as<std::string>(), "TERM=dumb", "TERM=xterm NO_COLOR=1");
  const std::string shown = on_terminal(place, variables + " $TRAIN --output out", 80);
  CHECK(contains(shown, "epoch 3/3"));
  CHECK_FALSE(contains(shown, "\033"));
}

TEST_CASE("an error on a terminal begins on a line of its own") {
  const Workplace place;
  const std::string shown = on_terminal(place, std::string("TERM=xterm $TRAIN --output out ") + diverging, 80);
  const size_t error = shown.find("noisysgd-train: ");
  REQUIRE(error != std::string::npos);
  const std::string before = shown.substr(0, error);
  CHECK((before.empty() || before.ends_with('\n') || before.ends_with("\r\033[K")));
}

TEST_CASE("a program that is started with closed descriptors writes its files as usual") {
  const Workplace place;
  CHECK(place.shell("exec $TRAIN --output out <&- >&- 2>&-").wait().status == 0);
  std::ifstream log(place.path() / "out/metrics.jsonl");
  int lines = 0;
  for (std::string line; std::getline(log, line); ++lines) CHECK_NOTHROW(parse_json(line, "metrics.jsonl"));
  CHECK(lines > 3);
  CHECK(place.shell(std::string("exec $TRAIN --output nan ") + diverging + "<&- >&- 2>&-").wait().status == 1);
}

TEST_CASE("output that cannot be written is an error at the end; the run is made") {
  const Workplace place;
  const CommandResult describe = place.shell("exec $TRAIN --describe > /dev/full").wait();
  CHECK(describe.status == 1);
  CHECK(contains(describe.error, "noisysgd-train: standard output: "));
  const CommandResult train = place.shell("exec $TRAIN --output out > /dev/full").wait();
  CHECK(train.status == 1);
  CHECK(contains(train.error, "noisysgd-train: standard output: "));
  CHECK(fs::exists(place.path() / "out/summary.json"));
}

TEST_CASE("output that was partly lost is an error, even if the rest is written") {
  std::fflush(stdout);
  const pid_t process = ::fork();
  if (process == 0) {
    const int full = ::open("/dev/full", O_WRONLY), null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, STDERR_FILENO);
    ::dup2(full, STDOUT_FILENO);
    write_console(stdout, "lost\n");
    std::fflush(stdout);
    ::dup2(null, STDOUT_FILENO);
    ::_exit(finish_output("program", 0));
  }
  int status = 0;
  REQUIRE(::waitpid(process, &status, 0) == process);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
}

TEST_CASE("a reader that has gone changes no status but that of a success") {
  for (const auto& [status, expected] : {std::pair(0, 141), std::pair(3, 3)}) {
    std::fflush(stdout);
    const pid_t process = ::fork();
    if (process == 0) {
      std::array<int, 2> pipe{};
      if (::pipe(pipe.data()) != 0) ::_exit(125);
      std::signal(SIGPIPE, SIG_IGN);
      ::close(pipe[0]);
      ::dup2(pipe[1], STDOUT_FILENO);
      print_out("lost\n");
      flush_out();
      print_out("lost, too\n");
      ::_exit(finish_output("program", status));
    }
    int ended = 0;
    REQUIRE(::waitpid(process, &ended, 0) == process);
    REQUIRE(WIFEXITED(ended));
    CHECK(WEXITSTATUS(ended) == expected);
  }
}

TEST_CASE("a reader that closes the pipe does not end the run") {
  const Workplace place;
  const CommandResult result = place.shell("($TRAIN --output out; echo status $? >&2) | head -1").wait();
  INFO(result.error);
  CHECK(fs::exists(place.path() / "out/table.txt"));
  CHECK(result.error == "status 141\n");
}

TEST_CASE("every program ends quietly if the reader of its output has gone") {
  const TemporaryFolder folder;
  for (const char* program : {NSGD_BENCH_PROGRAM, NSGD_DATA_PROGRAM, NSGD_EVAL_PROGRAM, NSGD_INSPECT_PROGRAM,
                              NSGD_NOISE_PICTURES_PROGRAM, NSGD_REPORT_PROGRAM, NSGD_TRAIN_PROGRAM}) {
    // The pipe's reader has ended before the program begins.
    const std::string line = fmt::format("exec 3>&1; {{ sleep 0.3; '{}' --help; echo $? >&3; }} | exec true", program);
    const CommandResult result = Command("/bin/sh", {"-c", line}, folder.path()).wait();
    INFO(program);
    CHECK(result.output == "141\n");
    CHECK(result.error.empty());
  }
}

TEST_CASE("a file that reaches the system's size limit is an error, and no temporary file remains") {
  const Workplace place;
  const CommandResult result = place.shell("ulimit -f 16; exec $TRAIN --quiet --output out").wait();
  INFO(result.error);
  CHECK(result.status == 1);
  CHECK(contains(result.error, "checkpoint.safetensors: File too large"));
  for (const auto& entry : fs::recursive_directory_iterator(place.path()))
    CHECK_FALSE(contains(entry.path().string(), ".tmp"));
}

TEST_CASE("names with terminal control characters are shown escaped in every message") {
  const Workplace place;
  const auto check_escaped = [](const CommandResult& result) {
    INFO(result.error);
    CHECK(result.status != 0);
    CHECK(contains(result.output + result.error, "1b]0;owned"));
    CHECK_FALSE(contains(result.output + result.error, "\033"));
  };
  const std::string hostile = "\033]0;owned\007";
  check_escaped(place.run({"--only", "regime=" + hostile}));
  check_escaped(place.run({"--set", hostile + "=1"}));
  check_escaped(place.run({"--" + hostile}));
  check_escaped(Command(NSGD_TRAIN_PROGRAM, {hostile + ".json"}, place.path()).wait());
  check_escaped(Command(NSGD_DATA_PROGRAM, {"fetch", hostile}, place.path()).wait());
}
