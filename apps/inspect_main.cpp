// noisysgd-inspect: writes one batch of a configured run, without an update, for other programs to check.
#include <string>
#include <vector>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/inspect.h>
#include <noisysgd/apps/program.h>

int main(int argc, char** argv) {
  using namespace noisysgd;
  CLI::App app{"Writes one batch, its gradient, diag(F) and noise draws in PyTorch's layouts", "noisysgd-inspect"};
  std::string config;
  std::vector<std::string> assignments;
  InspectOptions options;
  add_path(app, "CONFIG", config, "Configuration (JSON)")->required();
  add_repeated(app, "--set", assignments, "path=value: overrides one value of the configuration");
  app.add_option("--regime", options.regime, "Name of the regime; the first if not given");
  app.add_option("--seed", options.seed, "Seed; the first of the configuration if not given")
      ->transform(whole_number(0, largest_seed));
  add_path(app, "--checkpoint", options.checkpoint,
           "Parameters to start from, or folder of a run; initial ones if not given");
  app.add_option("--batch", options.batch, "Samples; batch.size if not given")
      ->transform(whole_number(1, 1 << 30));
  add_path(app, "--output", options.output, "File to write")->capture_default_str();
  app.add_option("--noise", options.noise_draws, "Draws of the noise to write")->transform(whole_number(0, 1 << 30));
  return run_program(app, argc, argv, [&] {
    const Extensions extensions;
    const Experiment experiment = read_experiment_file(config, assignments, extensions);
    print_out("{}", inspect(experiment, extensions, options));
    return 0;
  });
}
