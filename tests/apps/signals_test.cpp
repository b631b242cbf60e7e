// Signals to noisysgd-train: the thread that receives them, what they end and which files remain.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/suite.h>
#include <noisysgd/core/file.h>
#include "tests/apps/run_files.h"
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

// The line `name` of /proc/PROCESS/task/THREAD/status, for every thread: masks of signals are hexadecimal.
std::vector<uint64_t> masks_of_threads(pid_t process, const std::string& name) {
  std::vector<uint64_t> masks;
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::ifstream status(task.path() / "status");
    bool ended = false;  // while its status was read: the kernel shows zeros for all that it had
    for (std::string line; std::getline(status, line);) {
      ended = ended || line == "Threads:\t0";
      if (!ended && line.starts_with(name + ":"))
        masks.push_back(std::stoull(line.substr(name.size() + 1), nullptr, 16));
    }
  }
  return masks;
}

uint64_t mask_of(std::initializer_list<int> signals) {
  uint64_t mask = 0;
  for (const int signal : signals) mask |= uint64_t{1} << (signal - 1);
  return mask;
}

// Runs `action` in a separate process and returns the signal that ends it, or 0.
int ended_by(const std::function<void()>& action) {
  const pid_t process = ::fork();
  if (process == 0) {
    ::alarm(60);  // ends it if nothing else does
    action();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(process, &status, 0) == process);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

bool is_pending(int signal) {
  sigset_t pending;
  ::sigpending(&pending);
  return ::sigismember(&pending, signal) == 1;
}

}  // namespace

TEST_CASE("a signal ends the run after the step, with a checkpoint and exit status 128 plus its number") {
  const int signal = GENERATE(SIGTERM, SIGINT, SIGHUP);
  const Workplace place;
  Command command = place.start({"--output", "out", "--set", "epochs=100000"});
  place.wait_for_log();
  command.kill(signal);
  const CommandResult result = command.wait();
  INFO(result.error);
  CHECK(result.status == 128 + signal);
  CHECK(contains(result.output, "--resume"));
  CHECK_FALSE(tensors_of(place.path() / "out").empty());
}

TEST_CASE("no computing thread receives a signal") {
  const Workplace place;
  Command command = place.start({"--output", "out", "--set", "epochs=100000"}, 3);
  place.wait_for_log();
  const uint64_t taken = mask_of({SIGINT, SIGTERM, SIGHUP});
  size_t most = 0;
  for (int look = 0; look < 50; ++look) {  // threads start and end when the team's size changes
    const std::vector<uint64_t> blocked = masks_of_threads(command.process(), "SigBlk");
    most = std::max(most, blocked.size());
    // The kernel shows the signals that a thread waits for as not blocked.
    CHECK(std::count_if(blocked.begin(), blocked.end(), [&](uint64_t mask) { return (mask & taken) != taken; }) == 1);
  }
  CHECK(most >= 3);  // one that waits for signals, and two that compute
  command.kill(SIGTERM);
  CHECK(command.wait().status == 143);
}

TEST_CASE("interrupted by a signal every millisecond and resumed, again and again, a run ends with the same bits") {
  const Workplace place;
  const std::vector<std::string> options{"--quiet", "--set", R"(model={"type": "mlp", "hidden": [600]})", "--set",
                                         "epochs=6"};
  const auto with = [&](std::initializer_list<const char*> more) {
    std::vector<std::string> arguments = options;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  REQUIRE(place.run(with({"--output", "whole"})).status == 0);
  const fs::path log = place.path() / "out/metrics.jsonl";
  int interrupted = 0;
  while (!fs::exists(place.path() / "out/summary.json")) {
    std::error_code absent;
    const auto before = fs::exists(log) ? fs::file_size(log) : 0;
    Command command = place.start(with({"--output", "out", "--resume"}));
    // Every process logs once before the signals begin, so the run makes progress and ends.
    const auto logged = [&] { return fs::file_size(log, absent) > before && !absent; };
    while (!logged() && !fs::exists(place.path() / "out/summary.json")) std::this_thread::yield();
    const CommandResult result = command.wait_under(SIGTERM);
    INFO(result.error);
    REQUIRE((result.status == 143 || result.status == 0));
    interrupted += result.status == 143;
  }
  CHECK(interrupted > 5);
  REQUIRE(place.run(with({"--output", "out", "--resume"})).status == 0);
  CHECK(tensors_of(place.path() / "out") == tensors_of(place.path() / "whole"));
  CHECK(metrics_of(place.path() / "out") == metrics_of(place.path() / "whole"));
}

TEST_CASE("a signal that was ignored when the program began stays ignored") {
  const Workplace place;
  Command command = place.shell("trap '' HUP INT; exec $TRAIN --quiet --output out --set epochs=100000");
  place.wait_for_log();
  for (const uint64_t ignored : masks_of_threads(command.process(), "SigIgn"))
    CHECK((ignored & mask_of({SIGHUP, SIGINT})) == mask_of({SIGHUP, SIGINT}));
  command.kill(SIGHUP);
  command.kill(SIGINT);
  command.kill(SIGTERM);
  CHECK(command.wait().status == 143);
}

TEST_CASE("a signal ends the process at once before a run and after it") {
  const bool after = GENERATE(false, true);
  CHECK(ended_by([&] {
          Interrupts interrupts;
          if (after) const Interrupts::Hold hold(&interrupts);
          ::kill(::getpid(), SIGTERM);
          while (true) ::pause();
        }) == SIGTERM);
}

TEST_CASE("after the first signal only a SIGINT more than a second later ends the process at once") {
  CHECK(ended_by([] {
          Interrupts interrupts;
          const Interrupts::Hold hold(&interrupts);
          ::kill(::getpid(), SIGINT);
          while (interrupts.received() == 0) ::usleep(1000);
          std::this_thread::sleep_for(std::chrono::milliseconds(1200));
          ::kill(::getpid(), SIGTERM);
          while (is_pending(SIGTERM)) ::usleep(1000);
          ::kill(::getpid(), SIGINT);
          while (true) ::pause();
        }) == SIGINT);
}

TEST_CASE("a signal that an older thread receives is passed on, and at the end the old signal handling is restored") {
  sigset_t before, after;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &before);
  std::atomic<bool> over = false;
  std::jthread older([&] {
    while (!over) ::usleep(1000);
  });
  {
    Interrupts interrupts;
    const Interrupts::Hold hold(&interrupts);
    ::pthread_kill(older.native_handle(), SIGTERM);
    while (interrupts.received() == 0) ::usleep(1000);
    CHECK(interrupts.received() == SIGTERM);
  }
  over = true;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    CHECK(::sigismember(&before, signal) == ::sigismember(&after, signal));
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    CHECK((action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN));
  }
}

TEST_CASE("a signal and a loss that is not finite in one step: the run has diverged and keeps its last checkpoint") {
  const TemporaryFolder folder;
  Interrupts interrupts;
  {
    const Interrupts::Hold hold(&interrupts);
    ::kill(::getpid(), SIGTERM);
    while (interrupts.received() == 0) ::usleep(1000);
  }
  const Extensions extensions;
  const Experiment experiment =
      read_experiment(parse_json(R"({"data": {"train_size": 64, "test_size": 8}, "model": {"type": "mlp"}, "epochs": 2,
                                     "batch": {"size": 16}, "optimizer": {"learning_rate": 1e30}})",
                                 "test"),
                      "test", extensions);
  const Regime& regime = experiment.regimes.at(0);
  Context context({}, 1);
  DataCache data;
  const auto sitting = [&] {
    return train(context, *data.get(regime),
                 {regime, extensions, 1, folder.path(), Progress::Mode::quiet, &interrupts});
  };
  REQUIRE(sitting() == RunOutcome::interrupted);  // after the first step, which ruins the weights
  const std::string checkpoint = read_file(folder / "checkpoint.safetensors");
  CHECK(contains(error_of(sitting), "the loss is not finite at step 2"));
  CHECK(run_divergence(folder.path()).value().at("step") == 2);
  CHECK(read_file(folder / "checkpoint.safetensors") == checkpoint);
}

TEST_CASE("a signal that comes when a run has ended stops the suite before its next run") {
  const TemporaryFolder folder;
  Interrupts interrupts;
  {
    const Interrupts::Hold hold(&interrupts);
    ::kill(::getpid(), SIGTERM);
    while (interrupts.received() == 0) std::this_thread::yield();
  }
  CHECK(interrupts.received() == SIGTERM);
  const Extensions extensions;
  const Experiment experiment = read_experiment(
      parse_json(R"({"data": {"train_size": 32, "test_size": 8}, "model": {"type": "mlp"}, "epochs": 1})", "test"),
      "test", extensions);
  Context context({}, 1);
  CHECK(train_all(context, {experiment, extensions, folder.path(), Progress::Mode::quiet, {}, &interrupts}) ==
        RunOutcome::interrupted);
  CHECK_FALSE(fs::exists(folder.path() / "summary.json"));
}
