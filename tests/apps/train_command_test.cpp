// The program noisysgd-train: exit statuses, one line per error, and runs that are killed.
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <random>
#include <thread>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include "tests/apps/run_files.h"
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/hostile_disk.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

// A failed command prints one line, which begins with the program's name.
void check_one_line(const CommandResult& result, const std::vector<std::string>& parts) {
  INFO("output: " << result.output << "\nerror: " << result.error);
  CHECK(result.status == 1);
  CHECK(result.error.starts_with("noisysgd-train: "));
  CHECK(result.error.find('\n') == result.error.size() - 1);
  for (const std::string& part : parts) {
    INFO(part);
    CHECK(contains(result.error, part));
  }
}

}  // namespace

TEST_CASE("a run exits with 0, prints its table and writes the run folder") {
  const Workplace place;
  const CommandResult result = place.run({"--output", "out"});
  INFO(result.error);
  CHECK(result.status == 0);
  CHECK(result.error.empty());
  CHECK(contains(result.output, "epoch 3/3"));
  CHECK(contains(result.output, "test accuracy %"));
  for (const char* name : {"experiment.json", "config.json", "metrics.jsonl", "checkpoint.safetensors", "summary.json",
                           "table.txt", "table.md", "table.json"}) {
    INFO(name);
    CHECK(fs::exists(place.path() / "out" / name));
  }
}

TEST_CASE("quiet prints nothing, describe the layers and a dry run the plan, and no folder is left behind") {
  const Workplace place;
  const CommandResult quiet = place.run({"--quiet", "--output", "out"});
  CHECK(quiet.status == 0);
  CHECK(quiet.output.empty());
  CHECK(contains(place.run({"--describe"}).output, "conv1"));
  const CommandResult json = place.run({"--describe=json"});
  CHECK(parse_json(json.output, "graph").at("nodes").size() >= 5);
  CHECK(contains(place.run({"--dry-run"}).output, "640 training"));
  CHECK_FALSE(fs::exists(place.path() / "runs"));

  // The exit status says whether a configuration can be run.
  const CommandResult checked = place.run({"--quiet", "--dry-run"});
  CHECK(checked.status == 0);
  CHECK(checked.output.empty());
  CHECK(place.run({"--quiet", "--dry-run", "--set", "noise.small_batch=64"}).status == 1);
}

TEST_CASE("problems found in the data or the network are reported with file, regime and key") {
  const Workplace place;
  const auto refused = [&](const char* assignment) {
    const CommandResult dry = place.run({"--dry-run", "--set", assignment}),
                        run = place.run({"--output", "out", "--set", assignment});
    CHECK(dry.status == 1);
    CHECK(dry.error == run.error);
    CHECK_FALSE(fs::exists(place.path() / "out"));
    return dry.error;
  };
  const std::string program = "noisysgd-train: small.json: ";
  CHECK(refused(R"(model={"type": "sequential", "layers": [{"type": "conv2d", "out_channels": 4, "kernel": 99}]})") ==
        program + "1 problem\n  $.model.layers[0].type: conv2d 'conv1': a 99x99 kernel does not fit an input of 28x28 "
                  "with padding 0,0\n");
  CHECK(refused(R"(model={"type": "sequential", "layers": [{"type": "flatten"}]})") ==
        program + "model: the network's output [784] is not one score for each of 10 classes\n");
  CHECK(refused(R"(regimes=[{"name": "A"}, {"name": "B", "model": {"type": "mlp", "hidden": [0]}}])")
            .starts_with(program + "regime \"B\": 1 problem\n  $.model.hidden[0]: "));
  CHECK(refused(R"(regimes=[{"name": "A"}, {"name": "B", "init": [{"parameters": ["x"]}]}])") ==
        program +
            "regime \"B\": init[0].parameters: \"x\" matches no parameter of this network; it has \"conv1.weight\", "
            "\"conv1.bias\", "
            "\"bn1.weight\", \"bn1.bias\", \"linear1.weight\", \"linear1.bias\"\n");
  CHECK(refused(R"(data.normalize={"mean": [0.5, 0.5], "std": [1, 1]})") ==
        program + "data.normalize: 2 values for images of 1 channels\n");
  CHECK(contains(place.run({"--describe", "--set", R"(init=[{"parameters": ["x"]}])"}).error, program + "init[0]"));
}

TEST_CASE("the default folder is runs/NAME, and a second run takes the next free one") {
  const Workplace place;
  CHECK(place.run({"--quiet"}).status == 0);
  CHECK(place.run({"--quiet"}).status == 0);
  CHECK(fs::exists(place.path() / "runs/small/table.txt"));
  CHECK(fs::exists(place.path() / "runs/small-2/table.txt"));
}

TEST_CASE("a run's folder in place of a configuration continues it as it was made") {
  const Workplace place;
  REQUIRE(place.run({"--quiet", "--output", "out", "--set", "epochs=2", "--set", "seeds=[1, 2]", "--only", "seed=1"})
              .status == 0);
  check_one_line(place.run({"--quiet", "--output", "out", "--resume", "--set", "seeds=[1, 2]"}),
                 {"$.epochs: 2 there, 3 here", "continue it as it is by noisysgd-train out --resume"});
  check_one_line(Command(NSGD_TRAIN_PROGRAM, {"out"}, place.path()).wait(), {"out: holds a run already", "--resume"});
  const CommandResult resumed = Command(NSGD_TRAIN_PROGRAM, {"out", "--resume"}, place.path()).wait();
  INFO(resumed.error);
  CHECK(resumed.status == 0);
  CHECK_FALSE(contains(resumed.output, "begins anew"));
  CHECK(fs::exists(place.path() / "out/seed-2/summary.json"));
  CHECK(contains(read_file(place.path() / "out/table.txt"), "2 seeds\n"));
}

TEST_CASE("the folder of one run of a suite in place of a configuration points to that of the suite") {
  const Workplace place;
  const auto names_suite = [&](const char* run, const fs::path& from, const std::string& suite) {
    check_one_line(Command(NSGD_TRAIN_PROGRAM, {run, "--resume"}, from).wait(),
                   {fmt::format("{}: is one run of a suite; noisysgd-train {} --resume continues the suite", run, suite)});
  };
  const std::vector<std::string> regimes{"--quiet", "--output", "deep/out", "--set", R"(regimes=[{"name": "A"}])"};
  REQUIRE(place.run(regimes).status == 0);
  CHECK(Command(NSGD_TRAIN_PROGRAM, {"deep/out", "--resume"}, place.path()).wait().status == 0);  // both in one
  std::vector<std::string> suite = regimes;
  suite.insert(suite.end(), {"--resume", "--set", "seeds=[1, 2]"});
  REQUIRE(place.run(suite).status == 0);
  names_suite("deep/out/A/seed-2", place.path(), "deep/out");
  names_suite("deep/out/A/seed-2/", place.path(), "deep/out");
  names_suite(".", place.path() / "deep/out/A/seed-2", "../..");
  REQUIRE(place.run({"--quiet", "--output", "seeds", "--set", "seeds=[1, 2]", "--only", "seed=2"}).status == 0);
  names_suite("seeds/seed-2", place.path(), "seeds");

  // Those of no suite.
  fs::copy(place.path() / "seeds/seed-2", place.path() / "run");
  for (const char* folder : {"run", "deep", "deep/out/A"})
    check_one_line(Command(NSGD_TRAIN_PROGRAM, {folder, "--resume"}, place.path()).wait(),
                   {fmt::format("{}: holds no experiment.json; expected a configuration", folder)});
}

TEST_CASE("a suite whose files were changed by hand is not continued, and the file is named") {
  const Workplace place;
  const std::vector<std::string> suite{"--quiet", "--output", "out", "--set", R"(regimes=[{"name": "A"}])", "--set",
                                       "seeds=[1, 2]", "--set", "epochs=1"};
  REQUIRE(place.run(suite).status == 0);
  const auto resume = [&] { return Command(NSGD_TRAIN_PROGRAM, {"out", "--resume"}, place.path()).wait(); };
  const fs::path experiment = place.path() / "out/experiment.json", config = place.path() / "out/A/seed-1/config.json";

  const std::string document = read_file(experiment);
  Json changed = parse_json(document, "experiment");
  changed["batch"]["size"] = 32;
  write_file_atomically(experiment, changed.dump(2) + "\n");
  const CommandResult edited = resume();
  check_one_line(edited, {"out/A/seed-1/config.json: ", "$.batch.size: 64 there, 32 here",
                          "; undo what was changed in out/experiment.json, or use another --output"});
  CHECK_FALSE(contains(edited.error, "--resume"));  // the user typed it already
  write_file_atomically(experiment, document);
  CHECK(resume().status == 0);

  fs::rename(config, place.path() / "config.json");
  check_one_line(resume(), {"out/A/seed-1: holds ", " but no config.json, so it is not a folder of this program"});
  fs::rename(place.path() / "config.json", config);
  CHECK(resume().status == 0);
}

TEST_CASE("resuming in an empty folder says that the run begins anew") {
  const Workplace place;
  const CommandResult result = place.run({"--resume", "--output", "absent"});
  CHECK(result.status == 0);
  CHECK(contains(result.output, "absent: holds nothing to resume; begins anew\n"));
  CHECK(contains(place.run({"--resume"}).output, "runs/small: holds nothing to resume; begins anew\n"));
  CHECK_FALSE(contains(place.run({"--resume"}).output, "begins anew"));
  CHECK(place.run({"--resume", "--quiet", "--output", "quiet"}).output.empty());
}

TEST_CASE("resuming without a folder takes the last that fits the configuration, and says which") {
  const Workplace place;
  const std::vector<std::string> first{"--set", "epochs=1", "--set", "schedule.type=constant"},
      other{"--set", "epochs=1", "--set", "optimizer.momentum=0.5"};
  const auto call = [&](std::vector<std::string> arguments, std::initializer_list<const char*> more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return place.run(arguments);
  };
  REQUIRE(call(first, {"--quiet"}).status == 0);
  REQUIRE(call(first, {"--quiet"}).status == 0);
  REQUIRE(call(other, {"--quiet"}).status == 0);
  const std::string told = "--resume: runs/small-2 is the last folder with runs of this configuration";
  const CommandResult resumed = call(first, {"--resume"});
  CHECK(resumed.status == 0);
  CHECK(contains(resumed.output, told));
  CHECK(contains(resumed.output, ", into runs/small-2\n"));
  CHECK(call(first, {"--resume", "--quiet"}).output.empty());
  const CommandResult last = call(other, {"--resume"});
  CHECK(contains(last.output, ", into runs/small-3\n"));
  CHECK_FALSE(contains(last.output, "is the last folder"));
  // More seeds and epochs still fit.
  CHECK(contains(call(first, {"--resume", "--set", "seeds=[1, 2]"}).output, ", into runs/small-2\n"));
  CHECK(contains(call(first, {"--resume", "--set", "seeds=[1, 2]", "--epochs", "2"}).output, ", into runs/small-2\n"));
  CHECK(contains(call(first, {"--resume", "--set", "seeds=[1, 2]", "--epochs", "3"}).output, ", into runs/small-2\n"));
  // If none fits, the last one is named with what differs.
  check_one_line(place.run({"--resume", "--set", "epochs=7"}),
                 {"runs/small-3/config.json", "$.epochs: 1 there, 7 here"});
}

TEST_CASE("a dry run shows the batches that are trained on where there are fewer images") {
  const Workplace place;
  const auto plan = [&](const char* batch) {
    return place.run({"--dry-run", "--set", fmt::format("batch={}", batch)}).output;
  };
  CHECK(contains(plan(R"({"size": 640})"), ", batches of 640, "));
  CHECK(contains(plan(R"({"size": 641})"), ", batches of 640, all images (batch.size is 641), "));
  CHECK(contains(plan(R"({"size": 64, "change": [{"epochs": 1, "size": 900}]})"),
                 ", 1 epoch in batches of 640, all images (batch.change.size is 900), then batches of 64, "));
}

TEST_CASE("bad calls end with status 1 and one line that names the option or file") {
  const Workplace place;
  const CommandResult unknown_keys = place.run({"--set", "batch.sise=4", "--set", "epoch=1"});
  CHECK(unknown_keys.status == 1);  // all problems at once, a line each
  CHECK(contains(unknown_keys.error, "$.batch.sise: unknown key; did you mean \"size\"?"));
  CHECK(contains(unknown_keys.error, "$.epoch: unknown key; did you mean \"epochs\"?"));
  check_one_line(place.run({"--set", "nonsense"}), {"nonsense"});
  check_one_line(place.run({"--device", "tpu"}), {"tpu", "cuda"});
  check_one_line(place.run({"--dry-run", "--only", "regime=LB"}), {"--only regime=LB"});
  check_one_line(place.run({"--describe", "--only", "seed=9"}), {"--only seed=9"});
  REQUIRE(place.run({"--quiet", "--output", "out"}).status == 0);
  check_one_line(place.run({"--output", "out"}), {"out", "--resume"});
  const std::string document = read_file(place.path() / "out/experiment.json");
  check_one_line(place.run({"--quiet", "--output", "out", "--resume", "--set", "epochs=4"}),
                 {"out/config.json", "$.epochs: 3 there, 4 here"});
  CHECK(read_file(place.path() / "out/experiment.json") == document);
  check_one_line(Workplace("{\"name\": ").run({}), {"small.json"});
  const TemporaryFolder empty;
  check_one_line(Command(NSGD_TRAIN_PROGRAM, {"absent.json"}, empty.path()).wait(), {"absent.json"});
}

TEST_CASE("a run that diverges ends with status 1, one line and a table that says so") {
  const Workplace place;
  check_one_line(place.run({"--output", "out", "--set", "optimizer.learning_rate=1e30", "--set",
                            R"(model={"type": "mlp", "hidden": [8]})"}),
                 {"out", "not finite at step"});
  CHECK(contains(read_file(place.path() / "out/table.txt"), "0 of 1 runs finished, 1 diverged"));
}

TEST_CASE("a dry run and a description show the selected regimes") {
  const Workplace place(R"({"data": {"train_size": 64, "test_size": 8}, "epochs": 1, "batch": {"size": 64},
    "regimes": [{"name": "A", "model": {"type": "mlp", "hidden": [3]}},
                {"name": "B", "noise": {"type": "label", "small_batch": 8, "stop_fraction": 1}}]})");
  const CommandResult plan = place.run({"--dry-run"});
  CHECK(contains(plan.output, "A: 64 training"));
  CHECK(contains(plan.output, "1 epoch, 1 step, batches of 64, no noise\n"));
  CHECK(contains(plan.output, "B: 64 training"));
  CHECK(contains(plan.output, "1 step with label noise\n"));
  const CommandResult plan_of_one = place.run({"--dry-run", "--only", "regime=B"});
  CHECK(contains(plan_of_one.output, "B: 64 training"));
  CHECK_FALSE(contains(plan_of_one.output, "A: 64 training"));
  CHECK(contains(place.run({"--describe"}).output, "[3]"));
  CHECK(contains(place.run({"--describe", "--only", "regime=B"}).output, "conv2"));
  CHECK(contains(place.run({"--dry-run", "--set", "model={\"type\": \"mlp\"}"}).output,
                 "--set model={\"type\": \"mlp\"}: does not change"));
}

TEST_CASE("a run reports noise that no step draws because its part of the run is less than half a step") {
  const char* const note = "noise.stop_fraction: 0.25 of 1 step rounds to 0, so no noise is drawn\n";
  const Workplace place(R"({"data": {"train_size": 64, "test_size": 8}, "epochs": 1, "batch": {"size": 64},
    "model": {"type": "mlp", "hidden": [3]}, "regimes": [{"name": "LB"},
    {"name": "LB+Diag", "noise": {"type": "diagonal_fisher", "small_batch": 8}}]})");
  const CommandResult plan = place.run({"--dry-run"});
  CHECK(contains(plan.output, std::string("0 steps with diagonal_fisher noise\n  ") + note));
  const CommandResult result = place.run({"--output", "out"});
  CHECK(result.status == 0);
  CHECK(contains(result.output, std::string("out/LB+Diag/seed-1: ") + note));
  CHECK_FALSE(contains(result.output, "out/LB/seed-1: noise"));
  for (const char* fraction : {"0", "0.5"})  // no noise is configured, or one step has noise
    CHECK_FALSE(contains(place.run({"--dry-run", "--set", std::string("regimes[LB+Diag].noise.stop_fraction=") + fraction})
                             .output,
                         "rounds to 0"));
}

TEST_CASE("two programs cannot train in one folder") {
  const Workplace place;
  Command first = place.start({"--quiet", "--output", "out", "--set", "epochs=100000"});
  place.wait_for_log();
  check_one_line(place.run({"--quiet", "--output", "out", "--resume", "--set", "epochs=100000"}),
                 {"out: another program"});
  first.kill(SIGTERM);
  CHECK(first.wait().status == 143);
}

TEST_CASE("a text value may look like another JSON type") {
  const Workplace place;
  const CommandResult result = place.run({"--dry-run", "--set", "fisher.kind=true"});
  INFO(result.error);
  CHECK(result.status == 0);
}

TEST_CASE("a folder that cannot be made is named") {
  check_one_line(Workplace().run({"--output", "small.json/out"}), {"small.json/out", "cannot be made"});
}

TEST_CASE("if nothing can be written, the table is printed with the reason and the errors of the runs") {
  const Workplace place;
  const auto printed_on_full_disk = [&] {  // pipes have no limit of size
    place.shell("(ulimit -f 0; $TRAIN --set 'seeds=[1, 2]' --resume --output out) 2>&1 | cat > printed").wait();
    const std::string printed = read_file(place.path() / "printed");
    INFO(printed);
    CHECK_FALSE(contains(printed, "written to"));
    return printed;
  };
  REQUIRE(place.run({"--quiet", "--output", "out", "--set", "seeds=[1, 2]"}).status == 0);
  const fs::path first = place.path() / "out/seed-1";
  fs::remove(first / "summary.json");
  write_file_atomically(first / "checkpoint.safetensors", "damaged");
  std::string printed = printed_on_full_disk();
  CHECK(contains(printed, "1 of 2 runs finished\nregime"));
  CHECK(contains(printed, "noisysgd-train: cannot read out/seed-1/checkpoint.safetensors: 7 bytes are too few"));
  CHECK(contains(printed, "\ncannot write out/table.txt: File too large\n"));
  // A run that ends the suite at once hides no other either.
  fs::remove_all(place.path() / "out/seed-2");
  printed = printed_on_full_disk();
  CHECK(contains(printed, "noisysgd-train: cannot read out/seed-1/checkpoint.safetensors: 7 bytes are too few"));
  CHECK(contains(printed, "\ncannot write out/seed-2/config.json: File too large\n"));
}

TEST_CASE("a path that the system refuses is named with the reason, as output, on resume and as configuration") {
  const Workplace place;
  const std::string long_name(300, 'n');
  fs::create_symlink("loop", place.path() / "loop");
  for (const auto& [path, reason] :
       {std::pair(long_name, "File name too long"), std::pair(std::string("loop"), "Too many levels of symbolic links")}) {
    const std::string message = fmt::format("noisysgd-train: {}/experiment.json: {}\n", path, reason);
    CHECK(place.run({"--output", path}).error == message);
    CHECK(place.run({"--output", path, "--resume"}).error == message);
    check_one_line(Command(NSGD_TRAIN_PROGRAM, {path}, place.path()).wait(),
                   {fmt::format("noisysgd-train: {}: {}\n", path, reason)});
  }
}

TEST_CASE("a disk that fills up in a run is named, and the last good checkpoint continues bit for bit") {
  const Workplace place;
  REQUIRE(place.run({"--quiet", "--output", "whole"}).status == 0);
  const auto checkpoint_bytes = fs::file_size(place.path() / "whole/checkpoint.safetensors");
  {
    // Room for the files of the start, not for a checkpoint.
    const FileSizeLimit limit(checkpoint_bytes / 2);
    check_one_line(place.run({"--quiet", "--output", "full"}), {"checkpoint.safetensors"});
  }
  REQUIRE(place.run({"--quiet", "--resume", "--output", "full"}).status == 0);
  CHECK(tensors_of(place.path() / "full") == tensors_of(place.path() / "whole"));
}

TEST_CASE("killed at ten random moments, a run has loadable checkpoints and ends with the bits of a whole run") {
  const Workplace place;
  const std::vector<std::string> longer{"--quiet", "--set", "epochs=40"};
  const auto with = [&](std::initializer_list<const char*> more) {
    std::vector<std::string> arguments = longer;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(place.run(with({"--output", "whole"})).status == 0);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - start;

  // Moments up to a fifth of a whole run after the start of a process: most processes make some progress.
  std::mt19937 random(20);
  std::uniform_real_distribution<double> moment(0, whole.count() / 5);
  const fs::path checkpoint = place.path() / "killed/checkpoint.safetensors";
  int killed = 0;
  for (int sitting = 0; sitting < 10; ++sitting) {
    Command command = place.start(with({"--output", "killed", "--resume"}));
    std::this_thread::sleep_for(std::chrono::duration<double>(moment(random)));
    command.kill(SIGKILL);
    const CommandResult result = command.wait();
    INFO(result.error);
    CHECK((result.status == 128 + SIGKILL || result.status == 0));
    killed += result.status != 0;
    if (fs::exists(checkpoint)) CHECK_FALSE(tensors_of(place.path() / "killed").empty());
  }
  CHECK(killed > 0);
  const CommandResult last = place.run(with({"--output", "killed", "--resume"}));
  INFO(last.error);
  REQUIRE(last.status == 0);
  CHECK(tensors_of(place.path() / "killed") == tensors_of(place.path() / "whole"));
}
