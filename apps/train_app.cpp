#include <noisysgd/apps/train_app.h>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/extend_runs.h>
#include <noisysgd/apps/initial_values.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/schema.h>
#include <noisysgd/apps/search.h>
#include <noisysgd/apps/suite.h>
#include <noisysgd/apps/tuning.h>
#include <noisysgd/core/file.h>
#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/dispatch.h>

namespace noisysgd {

namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> assignments, only, grids;
  std::string device, output, describe;
  int threads = -1;
  int64_t epochs = 0;  // to train on to; 0: as configured
  bool resume = false, dry_run = false, quiet = false, tune = false;
};

// The folder of the suite that SUITE/seed-S or SUITE/REGIME/seed-S belongs to, if there is one.
std::optional<std::filesystem::path> suite_above(const std::filesystem::path& folder) {
  for (const char* above : {"..", "../.."}) {
    std::filesystem::path suite = (folder / above).lexically_normal();
    if (!suite.has_filename()) suite = suite.parent_path();
    if (std::filesystem::exists(suite / experiment_file)) return suite;
  }
  return {};
}

std::filesystem::path tuned_path(const std::filesystem::path& suite) { return suite / tuning_folder / tuned_file; }

// True if the folder holds a suite, or a tuning before its suite.
bool is_begun(const std::filesystem::path& suite) {
  return std::filesystem::exists(suite / experiment_file) || std::filesystem::exists(tuned_path(suite));
}

// If a suite's folder is given in place of a configuration, uses the configuration that it was made from, and the
// folder as output.
void name_folder(Arguments& arguments) {
  const std::filesystem::path folder = arguments.config;
  if (!std::filesystem::is_directory(folder)) return;
  if (!is_begun(folder)) {
    const auto suite = std::filesystem::exists(folder / config_file) ? suite_above(folder) : std::nullopt;
    NSGD_CHECK(!suite, "{}: is one run of a suite; noisysgd-train {} --resume continues the suite", folder.string(),
               suite->string());
    throw Error(fmt::format("{}: holds no {}; expected a configuration, or a folder that noisysgd-train has made",
                            folder.string(), experiment_file));
  }
  const bool tuned = arguments.tune ? std::filesystem::exists(tuned_path(folder))
                                    : !std::filesystem::exists(folder / experiment_file);
  arguments.config = (tuned ? tuned_path(folder) : folder / experiment_file).string();
  if (arguments.output.empty()) arguments.output = folder.string();
}

// runs/NAME, runs/NAME-2, … as far as they exist, and then the first that does not.
std::vector<std::filesystem::path> default_folders(const std::string& name) {
  const std::filesystem::path base = std::filesystem::path("runs") / name;
  std::vector<std::filesystem::path> folders{base};
  while (std::filesystem::exists(folders.back()))
    folders.push_back(base.string() + fmt::format("-{}", folders.size() + 1));
  return folders;
}

// What a call works on, before --epochs.
struct Given {
  const Json& document;  // with "tune"
  const Experiment& experiment;
  const Extensions& extensions;
};

// True if --resume can continue in the folder what it holds.
bool fits(const Arguments& arguments, const Given& given, const std::filesystem::path& folder) {
  if (arguments.tune) return holds_tuning_of(given.document, folder);
  if (arguments.epochs == 0) return can_be_continued(given.experiment, given.extensions, folder);
  try {  // the runs as they are, or as an interrupted call has changed them
    const Experiment so_far = trained_on_so_far(given.experiment, arguments.epochs, given.extensions, folder);
    return can_be_continued(so_far, given.extensions, folder) ||
           can_be_continued(with_epochs(so_far, arguments.epochs, given.extensions), given.extensions, folder);
  } catch (const Error&) {
    return false;
  }
}

// Without --output: the first of the default folders that does not exist; to resume, the last that does and fits, or
// else the last, whose differences are then reported.
std::filesystem::path default_folder(const Arguments& arguments, const Given& given) {
  std::vector<std::filesystem::path> folders = default_folders(given.experiment.name);
  if (!arguments.resume || folders.size() == 1) return folders.back();
  folders.pop_back();
  const auto found = std::find_if(folders.rbegin(), folders.rend(),
                                  [&](const auto& folder) { return fits(arguments, given, folder); });
  if (found == folders.rend() || found == folders.rbegin()) return folders.back();
  if (!arguments.quiet)
    print_out("--resume: {} is the last folder with runs of this configuration; those after it have others\n",
              found->string());
  return *found;
}

std::filesystem::path output_folder(const Arguments& arguments, const Given& given) {
  if (arguments.output.empty()) return default_folder(arguments, given);
  const std::filesystem::path folder = arguments.output;
  NSGD_CHECK(arguments.resume || !is_begun(folder),
             "{}: holds a run already; --resume continues it, another --output keeps it", folder.string());
  return folder;
}

// Prints the network of the first selected regime.
void describe(Context& context, const SuiteRequest& suite, bool as_json) {
  DataCache data;
  const std::vector<Regime>& regimes = suite.experiment.regimes;
  const auto regime =
      std::find_if(regimes.begin(), regimes.end(), [&](const Regime& r) { return suite.only.includes(r); });
  const Model model =
      make_model(context, *regime, *data.get(*regime), suite.extensions);  // owns what the graph points to
  const Graph graph = model.graph();
  print_out("{}\n", as_json ? graph.json().dump(2) : graph.text());
}

std::string counted(int64_t count, const char* thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

std::string parameter_count(const Model& model) {
  const int64_t all = model.parameter_set().elements(), trained = count_elements(model.parameter_set().trained());
  return counted(all, "parameter") + (trained < all ? fmt::format(" ({} frozen)", all - trained) : "");
}

// "batches of 64", or where there are fewer images "batches of 50, all images (batch.size is 64)".
std::string batches_of(int64_t size, const char* key, int64_t images) {
  return size <= images ? fmt::format("batches of {}", size)
                        : fmt::format("batches of {}, all images ({} is {})", images, key, size);
}

void show_plan(Context& context, const SuiteRequest& suite) {
  DataCache data;
  for (const Regime& regime : suite.experiment.regimes) {
    if (!suite.only.includes(regime)) continue;
    const auto loaded = data.get(regime);
    Model model = make_checked_model(context, regime, *loaded, suite.extensions);
    check_initial_values(model, regime);
    std::string changes;
    for (const BatchChange& change : regime.batch.changes)
      changes += fmt::format("{} in {}, then ", counted(change.epochs, "epoch"),
                             batches_of(change.size, "batch.change.size", loaded->sets.train.count));
    const BatchSchedule schedule = regime.batch_schedule(loaded->sets.train.count, model.coupling());
    const std::string noise = regime.noise.active()
                                  ? fmt::format("{} with {} noise", counted(regime.noisy_steps(schedule), "step"),
                                                regime.noise.options().type)
                                  : "no noise";
    if (suite.progress == Progress::Mode::quiet) continue;
    print_out("{}: {} training and {} {} images of {}, {}, {}, {}, {}{}, {}\n",
              regime.name.empty() ? suite.experiment.name : regime.name, loaded->sets.train.count,
              loaded->sets.test.count, regime.data.evaluated_set(), loaded->image_shape().channels_first().text(),
              parameter_count(model), counted(regime.epochs, "epoch"), counted(schedule.total_steps(), "step"), changes,
              batches_of(regime.batch.size, "batch.size", loaded->sets.train.count), noise);
    for (const std::string& note : run_notes(regime, schedule)) print_out("  {}\n", note);
  }
}

// Returns the number of training images of each regime.
std::vector<int64_t> check_models(Context& context, const Experiment& experiment, const Extensions& extensions) {
  DataCache data;
  std::vector<int64_t> images;
  for (const Regime& regime : experiment.regimes) {
    const auto loaded = data.get(regime);
    Model model = make_checked_model(context, regime, *loaded, extensions);
    check_initial_values(model, regime);
    images.push_back(loaded->sets.train.count);
  }
  return images;
}

// Checks all points at the budget of every rung, now and not in a later rung. Returns what is to be noted of them:
// "LB at budget 0.03: …, in 2 of 3 points".
std::vector<std::string> check_trials(Context& context, const Tuning& tuning, const Extensions& extensions) {
  DataCache data;
  std::vector<std::string> notes;
  for (size_t number = 0; number < tuning.rungs; ++number) {
    const auto [experiment, points] = all_points(tuning, number, extensions);
    std::map<std::pair<size_t, std::string>, int64_t> counts;  // by regime and note
    for (size_t i = 0; i < points.size(); ++i) {
      const Regime& regime = experiment.regimes[i];
      const auto loaded = data.get(regime);
      Model model = make_checked_model(context, regime, *loaded, extensions);
      if (number + 1 == tuning.rungs) check_initial_values(model, regime);
      for (const std::string& note :
           run_notes(regime, regime.batch_schedule(loaded->sets.train.count, model.coupling())))
        if (note.starts_with("noise.")) ++counts[{points[i].regime, note}];  // other notes hold at any budget
    }
    for (const auto& [key, count] : counts) {
      const TunedRegime& regime = tuning.regimes[key.first];
      const auto all = static_cast<int64_t>(regime.points.size());
      notes.push_back(fmt::format("{} at budget {:.3g}: {}{}", regime.name.empty() ? tuning.name() : regime.name,
                                  experiment.budget, key.second,
                                  count < all ? fmt::format(", in {} of {} points", count, all) : ""));
    }
  }
  return notes;
}

void show_tuning(const Tuning& tuning, const Rung& first) {
  print_out("tuning: {}, the first with {} at budget {:.3g}\n", counted(static_cast<int64_t>(tuning.rungs), "rung"),
            counted(static_cast<int64_t>(first.points.size()), "point"), first.experiment.budget);
}

int run(Arguments arguments, const Extensions& extensions) {
  // Created before any thread starts, and never destroyed: the next signal must not kill a program that is already
  // exiting.
  static Interrupts& interrupts = *new Interrupts;
  name_folder(arguments);
  NSGD_CHECK(arguments.epochs == 0 || arguments.resume,
             "--epochs {}: trains a run on, with --resume; --set epochs={} sets those of a new run", arguments.epochs,
             arguments.epochs);
  GivenDocument given = read_document(arguments.config, arguments.assignments);
  if (!arguments.grids.empty()) given.document = grid_of(given.document, given.origin, arguments.grids);
  const Json document = given.document;
  std::optional<Tuning> tuning;
  if (arguments.tune) {
    tuning = read_tuning(given, extensions);
    given.document = tuning->first_document();
  }
  Experiment configured = read_experiment(given, extensions);  // before the tuning, with the first values
  const auto named_folder = [&] { return output_folder(arguments, {document, configured, extensions}); };
  std::filesystem::path folder;
  if (arguments.epochs) {
    folder = named_folder();
    configured = trained_on_so_far(configured, arguments.epochs, extensions, folder);
  }
  Experiment experiment = arguments.epochs ? with_epochs(configured, arguments.epochs, extensions) : configured;
  const Device device = parse_device(arguments.device.empty() ? experiment.device : arguments.device);
  Context context(device, arguments.threads >= 0 ? arguments.threads : experiment.threads);
  const Progress::Mode progress = Progress::choose(arguments.quiet);
  WorkLeft work;
  SuiteRequest suite{experiment, extensions, {}, progress, Selection(arguments.only, experiment), &interrupts, &work};
  if (!arguments.describe.empty()) {
    describe(context, suite, arguments.describe == "json");
    return 0;
  }
  if (progress != Progress::Mode::quiet)
    for (const std::string& note : experiment.notes) print_out("{}\n", note);
  if (arguments.dry_run) {
    if (tuning) tuning->notes = check_trials(context, *tuning, extensions);
    if (tuning && progress != Progress::Mode::quiet) {
      show_tuning(*tuning, rung_of(*tuning, 0, extensions));
      print_out("{}\n", tuning_plan(*tuning));
    }
    show_plan(context, suite);
    return 0;
  }
  suite.folder = arguments.epochs ? folder : named_folder();
  if (progress != Progress::Mode::quiet && device.backend == Backend::cuda)
    print_out("convolutions on {}: {}\n", device.name(), kernels::cuda::convolutions(context.queue.cuda()));
  if (progress != Progress::Mode::quiet)
    print_out("{}: {} × {} on {}, {}, into {}\n", experiment.name,
              counted(static_cast<int64_t>(experiment.regimes.size()), "regime"),
              counted(static_cast<int64_t>(experiment.seeds.size()), "seed"), device.name(),
              counted(context.queue.threads(), "thread"), suite.folder.string());
  if (progress != Progress::Mode::quiet && arguments.resume && !is_begun(suite.folder))
    print_out("{}: holds nothing to resume; begins anew\n", suite.folder.string());
  if (arguments.epochs) extend_runs(context, configured, experiment, extensions, suite.folder);
  if (tuning) {
    const Rung first = rung_of(*tuning, 0, extensions);
    if (progress != Progress::Mode::quiet) show_tuning(*tuning, first);
    tuning->notes = check_trials(context, *tuning, extensions);
    if (progress != Progress::Mode::quiet)
      for (const std::string& note : tuning->notes) print_out("{}\n", note);
    const std::vector<int64_t> images = check_models(context, experiment, extensions);
    if (!tune(context, *tuning, {document, extensions, suite.folder, progress, &interrupts, images, &work}))
      return 128 + interrupts.received();
    experiment = read_experiment(tuning->chosen_document(), given.origin, extensions);
    work.set_later(0);
  }
  const RunOutcome outcome = train_all(context, suite);
  return outcome == RunOutcome::interrupted ? 128 + interrupts.received() : 0;
}

}  // namespace

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  const bool automatic = text == "auto";
  Device device{Backend::cuda};
  if (!automatic && text != "cuda") {
    const std::string_view number = std::string_view(text).substr(std::min(text.size(), size_t{5}));
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), device.index);
    NSGD_CHECK(
        text.starts_with("cuda:") && error == std::errc() && end == number.data() + number.size() && device.index >= 0,
        "device \"{}\": expected auto, cpu, cuda or cuda:N", text);
  }
  const std::string reason = kernels::cuda::why_unusable(device.index);
  if (reason.empty()) return device;
  NSGD_CHECK(automatic, "device \"{}\": {}; --device cpu runs on the processor", text, reason);
  if (kernels::built_with_cuda) print_error("device auto: {}; running on the processor\n", reason);
  return {};
}

int train_main(int argc, char** argv, const Extensions& extensions) {
  CLI::App app("Trains the regimes of a configuration and compares them.", "noisysgd-train");
  Arguments arguments;
  add_path(app, "CONFIG", arguments.config, "JSON configuration, or the folder of a suite to resume")->required();
  add_schema_flag(app, [&] { return experiment_schema(extensions); });
  add_repeated(app, "--set", arguments.assignments, "path=value: overrides one value of the configuration");
  CLI::Option* const only = add_repeated(app, "--only", arguments.only,
                                         "regime=NAME,seed=N: makes these runs only; the rest can follow by --resume");
  CLI::Option* const grid = add_repeated(app, "--grid", arguments.grids,
                                         "path=a,b,c: a regime for each value; several make all combinations");
  app.add_option("--device", arguments.device, "auto, cpu, cuda or cuda:N");
  app.add_option("--threads", arguments.threads, "processor threads; 0: all")
      ->transform(whole_number(0, most_threads));
  add_path(app, "--output", arguments.output, "folder of the run (default: runs/NAME)");
  app.add_flag("--resume", arguments.resume, "continue an interrupted run, bit for bit");
  CLI::Option* const epochs =
      app.add_option("--epochs", arguments.epochs, "with --resume: train on to this number of epochs")
          ->transform(whole_number(1, INT32_MAX));
  app.add_flag("--tune", arguments.tune, "choose the values of \"tune\" on held-out training images, then train")
      ->excludes(only)
      ->excludes(grid)
      ->excludes(epochs);
  app.add_flag("--describe{text}", arguments.describe, "print the table of layers and stop; --describe=json: the graph")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_flag("--dry-run", arguments.dry_run, "check the configuration and the data, print the plan and stop");
  app.add_flag("--quiet", arguments.quiet, "print errors only");
  return run_program(app, argc, argv, [&] { return run(arguments, extensions); });
}

}  // namespace noisysgd
