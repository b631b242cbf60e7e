// noisysgd-bench: measures the limits of the machine, the share of them that each layer reaches, and the cost of noise
// in a whole training step. It runs the same kernels as training.
#include <string>
#include <vector>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/bench/ceilings.h>
#include <noisysgd/bench/options.h>
#include <noisysgd/bench/program/bandwidth.h>
#include <noisysgd/bench/program/bars.h>
#include <noisysgd/bench/program/curvature.h>
#include <noisysgd/bench/program/layers.h>
#include <noisysgd/bench/program/networks.h>
#include <noisysgd/bench/program/steps.h>
#include <noisysgd/bench/report.h>
#include <noisysgd/layers/model.h>

namespace {

using namespace noisysgd;
using namespace noisysgd::bench;

struct Arguments {
  Options options;
  bool ceilings = false, bandwidth = false;
  std::vector<std::string> layers, steps, curvature;
  std::string bars, describe;
  LayerOptions layer_options;
  StepOptions step_options;
  int only_steps = 0;
};

int run_benchmarks(const Arguments& arguments, const std::vector<Bar>& bars) {
  const Options& options = arguments.options;
  kernels::Queue queue(options.device, options.threads);
  Report report(queue, options.markdown);
  DeviceSizes sizes = DeviceSizes::of(options.device, report.emulated());
  if (options.device.backend == Backend::cpu) sizes.activations = arguments.layer_options.batch;
  LayerOptions layer_options = arguments.layer_options;
  StepOptions step_options = arguments.step_options;
  layer_options.sizes = sizes;
  layer_options.device = step_options.device = options.device;
  layer_options.precision = step_options.precision = options.precision;
  layer_options.threads = step_options.threads = options.threads;
  layer_options.rounds = step_options.rounds = options.rounds;
  if (arguments.ceilings)
    report.add(options.device.backend == Backend::cuda ? measure_device_ceilings(options.device, sizes, options.rounds)
                                                       : measure_ceilings(queue.threads(), options.rounds));
  if (arguments.bandwidth) report.add(measure_bandwidth({options.device, options.threads, options.rounds, sizes}));
  for (const std::string& network : arguments.layers) report.add(measure_layers(network, layer_options));
  for (const std::string& network : arguments.steps)
    if (arguments.only_steps > 0)
      run_steps(network, step_options, arguments.only_steps);
    else
      report.add(measure_steps(network, step_options));
  for (const std::string& network : arguments.curvature) report.add(measure_curvature(network, step_options));
  int status = 0;
  if (!arguments.bars.empty()) {
    const Verdicts verdicts = check_bars(report.json(), bars, arguments.bars, report.emulated());
    report.add(verdicts);
    status = exit_status("noisysgd-bench", verdicts);
  }
  report.write(options.json);
  return status;
}

int run(Arguments& arguments) {
  if (!arguments.describe.empty()) {
    Context context;
    print_out("{}\n", Model(context, make_network(arguments.describe), classes).graph().json().dump(2));
    return 0;
  }
  NSGD_CHECK(arguments.ceilings || arguments.bandwidth || !arguments.layers.empty() || !arguments.steps.empty() ||
                 !arguments.curvature.empty(),
             "nothing to measure: give --ceilings, --bandwidth, --layers, --steps or --curvature (see --help)");
  const std::vector<Bar> bars = arguments.bars.empty() ? std::vector<Bar>() : read_bars(arguments.bars);
  arguments.options.check();
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
  app.add_option("--layers", arguments.layers,
                 "Convolution and linear layers of these networks, one of each kind; takes several")
      ->check(network);
  app.add_option("--steps", arguments.steps,
                 "Training steps of these networks: plain and with every kind of noise; takes several")
      ->check(network);
  app.add_option("--curvature", arguments.curvature,
                 "Products with curvature matrices of these networks, beside a gradient; takes several")
      ->check(network);
  app.add_option("--describe", arguments.describe, "Print this network as a graph, as JSON, and stop")->check(network);
  app.add_option("--variants", arguments.step_options.variants,
                 "With --steps: variants besides the plain step; takes several [all]")
      ->check(CLI::IsMember(step_variants()));
  app.add_option("--only-steps", arguments.only_steps, "With --steps: run this many of each variant, measure nothing")
      ->transform(count);
  add_path(app, "--bars", arguments.bars, "Exit with 2 if a measured ratio breaks its bar in this file");
  app.add_option("--batch", arguments.step_options.batch, "Samples per training step, or product")
      ->capture_default_str()
      ->transform(count);
  app.add_option("--micro", arguments.step_options.micro, "Samples per micro-batch [the whole batch]")
      ->transform(count);
  app.add_option("--layer-batch", arguments.layer_options.batch, "Samples for --layers")
      ->capture_default_str()
      ->transform(count);
  arguments.options.add_to(app);
  return run_program(app, argc, argv, [&] { return run(arguments); });
}
