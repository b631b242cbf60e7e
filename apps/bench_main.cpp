// noisysgd-bench: measures the limits of the machine, the share of them that each layer reaches, and the cost of noise
// in a whole training step. It runs the same kernels as training.
#include <string>
#include <vector>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/bench/bandwidth.h>
#include <noisysgd/apps/bench/bars.h>
#include <noisysgd/apps/bench/ceilings.h>
#include <noisysgd/apps/bench/curvature.h>
#include <noisysgd/apps/bench/layers.h>
#include <noisysgd/apps/bench/machine.h>
#include <noisysgd/apps/bench/networks.h>
#include <noisysgd/apps/bench/steps.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/apps/train_app.h>
#include <noisysgd/core/file.h>
#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/queue.h>

namespace {

using namespace noisysgd;
using namespace noisysgd::bench;

struct Arguments {
  bool ceilings = false, bandwidth = false, markdown = false;
  std::vector<std::string> layers, steps, curvature;
  std::string json, bars, device = "cpu", precision;
  BandwidthOptions bandwidth_options;
  LayerOptions layer_options;
  StepOptions step_options;
  int threads = 0, rounds = 15, only_steps = 0;
};

void print_header(const Json& machine, bool markdown) {
  for (const auto& [key, value] : machine.items())
    print_out("{}{}: {}\n", markdown ? "- " : "", key, value.is_string() ? value.get<std::string>() : value.dump());
}

void print_section(const Section& section, bool markdown) {
  print_out("\n{}{}\n\n{}\n{}\n", markdown ? "## " : "", section.title,
            markdown ? section.table.markdown() : section.table.text(), section.note);
  std::fflush(stdout);
}

int run_benchmarks(const Arguments& arguments, const std::vector<Bar>& bars) {
  const Device device = arguments.layer_options.device;
  kernels::Queue queue(device, arguments.threads);
  const Json machine = describe_machine(queue);
  const bool emulated = machine.value("emulated", "no") == "yes";
  print_header(machine, arguments.markdown);
  if (emulated) print_out("\nThe device is emulated on the processor: its times say nothing about a GPU.\n");
  DeviceSizes sizes;
  if (emulated) sizes = DeviceSizes::tiny();
  if (device.backend == Backend::cpu) {
    sizes.copied_floats = int64_t{1} << 27;
    sizes.activations = arguments.layer_options.batch;
  }
  Json report = {{"machine", machine}};
  const auto add = [&](const Section& section) {
    print_section(section, arguments.markdown);
    report[section.key].push_back(section.json);
  };
  if (arguments.ceilings)
    add(device.backend == Backend::cuda ? measure_device_ceilings(device, sizes, arguments.rounds)
                                        : measure_ceilings(machine.at("threads").get<int>(), arguments.rounds));
  LayerOptions layer_options = arguments.layer_options;
  BandwidthOptions bandwidth_options = arguments.bandwidth_options;
  layer_options.sizes = bandwidth_options.sizes = sizes;
  if (arguments.bandwidth) add(measure_bandwidth(bandwidth_options));
  for (const std::string& network : arguments.layers) add(measure_layers(network, layer_options));
  for (const std::string& network : arguments.steps)
    if (arguments.only_steps > 0)
      run_steps(network, arguments.step_options, arguments.only_steps);
    else
      add(measure_steps(network, arguments.step_options));
  for (const std::string& network : arguments.curvature) add(measure_curvature(network, arguments.step_options));
  int broken = 0;
  if (!arguments.bars.empty()) {
    const Verdict verdict = check_bars(report, bars, arguments.bars, emulated);
    broken = verdict.broken;
    print_section(verdict.section, arguments.markdown);
    report["bars"] = verdict.section.json;
  }
  if (!arguments.json.empty()) write_file_atomically(arguments.json, report.dump(2) + "\n");
  if (broken > 0) print_error("noisysgd-bench: {} of the bars broken\n", broken);
  return broken > 0 ? 2 : 0;
}

kernels::Precision precision_of(const std::string& name, const Device& device) {
  NSGD_CHECK(name.empty() || device.backend == Backend::cuda, "--precision {}: the processor computes in fp32", name);
  if (device.backend == Backend::cpu) return kernels::Precision::fp32;
  for (const kernels::Precision precision : kernels::precisions)
    if (name == name_of(precision)) return precision;
  return kernels::Precision::tf32;
}

int run(Arguments& arguments) {
  NSGD_CHECK(arguments.ceilings || arguments.bandwidth || !arguments.layers.empty() || !arguments.steps.empty() ||
                 !arguments.curvature.empty(),
             "nothing to measure: give --ceilings, --bandwidth, --layers, --steps or --curvature (see --help)");
  arguments.layer_options.threads = arguments.step_options.threads = arguments.threads;
  arguments.layer_options.rounds = arguments.step_options.rounds = arguments.rounds;
  const Device device = parse_device(arguments.device);
  arguments.layer_options.device = arguments.step_options.device = arguments.bandwidth_options.device = device;
  arguments.layer_options.precision = arguments.step_options.precision = precision_of(arguments.precision, device);
  arguments.bandwidth_options.threads = arguments.threads;
  arguments.bandwidth_options.rounds = arguments.rounds;
  const std::vector<Bar> bars = arguments.bars.empty() ? std::vector<Bar>() : read_bars(arguments.bars);
  if (!arguments.json.empty()) check_writable(arguments.json);
  return run_benchmarks(arguments, bars);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures ceilings, layers and whole training steps of NoisySGD", "noisysgd-bench"};
  Arguments arguments;
  const auto network = CLI::IsMember(network_names());
  const auto count = whole_number(1, 1 << 30);
  app.add_flag("--ceilings", arguments.ceilings,
               "What the machine can do: arithmetic, copy bandwidth and matrix products");
  app.add_flag("--bandwidth", arguments.bandwidth, "The noise step and ghost batch norm against copy bandwidth");
  app.add_option("--layers", arguments.layers, "Convolution and linear layers of these networks, one of each kind")
      ->check(network);
  app.add_option("--steps", arguments.steps, "Training steps of these networks: plain and with every kind of noise")
      ->check(network);
  app.add_option("--curvature", arguments.curvature,
                 "Products with curvature matrices of these networks, beside a gradient")
      ->check(network);
  app.add_option("--variants", arguments.step_options.variants, "With --steps: variants besides the plain step [all]")
      ->check(CLI::IsMember(step_variants()));
  app.add_option("--only-steps", arguments.only_steps, "With --steps: run this many of each variant, measure nothing")
      ->transform(count);
  app.add_option("--device", arguments.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--precision", arguments.precision, "On a CUDA device: fp32, tf32 or bf16 [tf32]")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  add_path(app, "--bars", arguments.bars, "Exit with 2 if a measured ratio breaks its bar in this file");
  app.add_option("--batch", arguments.step_options.batch, "Samples per training step, or product")
      ->capture_default_str()
      ->transform(count);
  app.add_option("--micro", arguments.step_options.micro, "Samples per forward and backward pass [the whole batch]")
      ->transform(count);
  app.add_option("--layer-batch", arguments.layer_options.batch, "Samples for --layers")
      ->capture_default_str()
      ->transform(count);
  app.add_option("--rounds", arguments.rounds, "Alternating rounds that medians are taken over")
      ->capture_default_str()
      ->transform(whole_number(1, 100000));
  app.add_option("--threads", arguments.threads, "Threads [all cores]")->transform(whole_number(1, most_threads));
  add_path(app, "--json", arguments.json, "Also write every figure to this file");
  app.add_flag("--markdown", arguments.markdown, "Print Markdown tables");
  return run_program(app, argc, argv, [&] { return run(arguments); });
}
