#include <noisysgd/bench/bench_main.h>

#include <algorithm>
#include <filesystem>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/bench/options.h>
#include <noisysgd/bench/result.h>

namespace noisysgd::bench {

namespace {

struct Arguments {
  Options options;
  std::vector<std::string> only;
  std::string compare;
  bool bars = false, check = false;
};

std::vector<const Case*> chosen_cases(const Cases& cases, const std::vector<std::string>& only) {
  std::vector<const Case*> chosen;
  for (const Case& one : cases.all())
    if (only.empty() || std::ranges::count(only, one.name)) chosen.push_back(&one);
  return chosen;
}

Samples times_of(Context& context, const Case& one, int rounds) {
  const std::vector<Tensor> arrays = make_arrays(context, one);
  return measure(context.queue, {{one.name, [&] { one.op(context, arrays); }}}, rounds)[0];
}

int run(const std::string& program, const Cases& cases, Arguments& arguments) {
  const std::vector<const Case*> chosen = chosen_cases(cases, arguments.only);
  NSGD_CHECK(!chosen.empty(), "nothing to measure: the program has no cases");
  Options& options = arguments.options;
  options.check();
  std::optional<Earlier> earlier;
  if (!arguments.compare.empty()) earlier = Earlier::read(arguments.compare);

  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  Report report(context.queue, options.markdown);
  Conditions conditions;
  conditions.settings = {{"device", options.device.name()},
                         {"precision", name_of(options.precision)},
                         {"threads", context.queue.threads()},
                         {"rounds", options.rounds}};
  conditions.earlier = earlier ? &*earlier : nullptr;
  std::vector<Result> results;
  for (const Case* one : chosen) results.push_back({one, error_of(context, *one)});
  if (!arguments.check) {
    conditions.roofs = measure_roofs(context, DeviceSizes::of(options.device, report.emulated()), options.rounds);
    for (Result& result : results) result.times = times_of(context, *result.of, options.rounds);
    report.add(section_of(results, conditions, report.json().at("machine")));
  }
  const Verdicts verdicts = judge(results, conditions, report.emulated());
  report.add(verdicts);
  report.write(options.json);
  return arguments.bars ? exit_status(program, verdicts) : 0;
}

}  // namespace

int bench_main(int argc, char** argv, const Cases& cases) {
  const std::string program = std::filesystem::path(argc > 0 ? argv[0] : "benchmark").filename().string();
  CLI::App app{"Measures ops and compares them with their references in fp64", program};
  Arguments arguments;
  std::vector<std::string> names;
  for (const Case& one : cases.all()) names.push_back(one.name);
  app.add_option("--only", arguments.only, "Only these cases [all]")->check(CLI::IsMember(names));
  CLI::Option* const check =
      app.add_flag("--check", arguments.check, "Only compare with the references, measure no times");
  app.add_flag("--bars", arguments.bars, "Exit with 2 if a bar is broken");
  add_path(app, "--compare", arguments.compare, "Ratios to the times in this file, which --json wrote")
      ->excludes(check);
  arguments.options.add_to(app);
  return run_program(app, argc, argv, [&] { return run(program, cases, arguments); });
}

}  // namespace noisysgd::bench
