// Lets one request for memory of a dry run and a short training fail, in a separate process for each request. Every
// process must end by itself with status 1 and one line with the reason. Arguments: the folder for runs; how many of
// the requests to try, spread over all of them (default: every one); a single request to try, for a debugger.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <noisysgd/apps/program.h>
#include <noisysgd/apps/trainer.h>
#include <noisysgd/core/file.h>
#include "tests/memory_requests.h"

namespace {

using namespace noisysgd;

int dry_run_and_training(const std::filesystem::path& folder, int64_t refused_request) {
  char name[] = "out_of_memory", *arguments[] = {name, nullptr};
  CLI::App app("", name);
  test::MemoryRequests& requests = test::memory_requests();
  requests.made = 0;
  requests.last_refused = refused_request + 1;
  requests.first_refused = refused_request;
  return run_program(app, 1, arguments, [&] {
    const Json document = parse_config(R"({
      "data": {"type": "synthetic", "train_size": 20, "test_size": 4}, "epochs": 1, "logging": {"every_steps": 1},
      "model": {"type": "sequential", "layers": [{"type": "conv2d", "out_channels": 2, "kernel": 3, "stride": 4},
        {"type": "batch_norm"}, {"type": "relu"}, {"type": "flatten"}, {"type": "linear"}]},
      "batch": {"size": 12, "ghost_size": 4},
      "noise": {"type": "diagonal_fisher", "small_batch": 2, "stop_fraction": 1}})",
                                       "test");
    const Extensions extensions;
    const Experiment experiment = read_experiment(document, "test", extensions);
    const Regime& regime = experiment.regimes.front();
    Context context({}, 1);
    DataCache data;
    make_checked_model(context, regime, *data.get(regime), extensions);
    train(context, *data.get(regime), {regime, extensions, 1, folder, Progress::Mode::quiet});
    return 0;
  });
}

struct Outcome {
  int status = 0;
  std::string text;
};

// requests_made: in memory that the processes share.
Outcome run(int64_t refused_request, const std::filesystem::path& folder, int64_t* requests_made) {
  std::filesystem::remove_all(folder);
  const std::filesystem::path log = folder.string() + ".log";
  const pid_t child = fork();
  if (child == 0) {
    alarm(300);  // ends a process that hangs
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(file, STDERR_FILENO);
    const int status = dry_run_and_training(folder, refused_request);
    *requests_made = test::memory_requests().made;
    _exit(status);
  }
  Outcome outcome;
  waitpid(child, &outcome.status, 0);
  outcome.text = read_file(log);
  return outcome;
}

bool is_one_line_about_memory(const std::string& text) {
  return text.find("out of memory") != std::string::npos && text.find('\n') == text.size() - 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder.parent_path());
  void* const shared = mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* const made = static_cast<int64_t*>(shared);
  const Outcome whole = run(-1, folder, made);
  if (whole.status != 0) {
    std::printf("the run without a failed request fails: %s\n", whole.text.c_str());
    return 1;
  }
  if (argc > 3) {  // only this request, in this process, for a debugger
    return dry_run_and_training(folder, std::atoll(argv[3]));
  }
  const int64_t total = *made, tries = argc > 2 ? std::min<int64_t>(total, std::atoll(argv[2])) : total;
  int64_t wrong = 0, succeeded = 0;
  for (int64_t i = 0; i < tries; ++i) {
    const int64_t place = i * total / tries;
    const Outcome outcome = run(place, folder, made);
    if (outcome.status == 0) {
      ++succeeded;  // the caller does not need this memory
      continue;
    }
    if (WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 1 && is_one_line_about_memory(outcome.text))
      continue;
    ++wrong;
    std::printf("request %lld of %lld: status %d: %s\n", static_cast<long long>(place), static_cast<long long>(total),
                outcome.status, outcome.text.c_str());
  }
  std::printf("%lld of %lld requests refused: %lld ended wrongly, %lld did without\n", static_cast<long long>(tries),
              static_cast<long long>(total), static_cast<long long>(wrong), static_cast<long long>(succeeded));
  return wrong == 0 ? 0 : 1;
}
