// noisysgd-bench: what the machine can do, what each layer makes of it, and what diagonal-Fisher noise costs in a whole
// training step. Links the kernels that train; nothing is measured on copies.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "apps/bench/ceilings.h"
#include "apps/bench/layers.h"
#include "apps/bench/machine.h"
#include "apps/bench/networks.h"
#include "apps/bench/steps.h"
#include "apps/run_main.h"
#include "core/file.h"
#include "kernels/queue.h"

namespace {

using namespace noisysgd;
using namespace noisysgd::bench;

struct Arguments {
  bool ceilings = false, markdown = false;
  std::vector<std::string> layers, steps;
  std::string json;
  LayerOptions layer_options;
  StepOptions step_options;
  int threads = 0, rounds = 15;
};

void print_header(const Json& machine, bool markdown) {
  for (const auto& [key, value] : machine.items())
    fmt::print("{}{}: {}\n", markdown ? "- " : "", key, value.is_string() ? value.get<std::string>() : value.dump());
}

void print_section(const Section& section, bool markdown) {
  fmt::print("\n{}{}\n\n{}\n{}\n", markdown ? "## " : "", section.title,
             markdown ? section.table.markdown() : section.table.text(), section.note);
  std::fflush(stdout);
}

void run_benchmarks(const Arguments& arguments) {
  const Json machine = describe_machine(kernels::Queue({}, arguments.threads).threads());
  print_header(machine, arguments.markdown);
  Json report = {{"machine", machine}};
  const auto add = [&](const Section& section) {
    print_section(section, arguments.markdown);
    report[section.key].push_back(section.json);
  };
  if (arguments.ceilings) add(measure_ceilings(machine.at("threads").get<int>(), arguments.rounds));
  for (const std::string& network : arguments.layers) add(measure_layers(network, arguments.layer_options));
  for (const std::string& network : arguments.steps) add(measure_steps(network, arguments.step_options));
  if (!arguments.json.empty()) write_file_atomically(arguments.json, report.dump(2) + "\n");
}

int run(int argc, char** argv) {
  CLI::App app{"Measures ceilings, layers and whole training steps of NoisySGD", "noisysgd-bench"};
  app.set_version_flag("--version", NSGD_VERSION);
  Arguments arguments;
  const auto network = CLI::IsMember(network_names());
  app.add_flag("--ceilings", arguments.ceilings, "FMA peak, copy bandwidth and sgemm, on one thread and on all");
  app.add_option("--layers", arguments.layers, "Convolution and linear layers of these networks, one by one")
      ->check(network);
  app.add_option("--steps", arguments.steps, "Training steps of these networks: plain and with every kind of noise")
      ->check(network);
  app.add_option("--batch", arguments.step_options.batch, "Samples per training step")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--micro", arguments.step_options.micro, "Samples per forward and backward pass [the whole batch]")
      ->check(CLI::PositiveNumber);
  app.add_option("--layer-batch", arguments.layer_options.batch, "Samples for --layers")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", arguments.rounds, "Alternating rounds that medians are taken over")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--noises", arguments.step_options.noises, "Measure --steps with these kinds of noise only [all]")
      ->check(CLI::IsMember(noise_names()));
  app.add_option("--threads", arguments.threads, "Threads [all cores]")->check(CLI::PositiveNumber);
  app.add_option("--json", arguments.json, "Also write every figure to this file");
  app.add_flag("--markdown", arguments.markdown, "Print Markdown tables");
  CLI11_PARSE(app, argc, argv);
  NSGD_CHECK(arguments.ceilings || !arguments.layers.empty() || !arguments.steps.empty(),
             "nothing to measure: give --ceilings, --layers or --steps (see --help)");
  arguments.layer_options.threads = arguments.step_options.threads = arguments.threads;
  arguments.layer_options.rounds = arguments.step_options.rounds = arguments.rounds;
  run_benchmarks(arguments);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return noisysgd::run_main("noisysgd-bench", [&] { return run(argc, argv); });
}
