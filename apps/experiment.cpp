#include <noisysgd/apps/experiment.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include <noisysgd/apps/budget.h>
#include <noisysgd/apps/names.h>
#include <noisysgd/core/config_path.h>
#include <noisysgd/core/suggest.h>
#include <noisysgd/data/file.h>

namespace noisysgd {

namespace {

// A limit on the memory that regimes may take, beside most_regimes: each of them is a whole document.
constexpr size_t most_regime_bytes = size_t{256} << 20;

// Keys that belong to the experiment, not to a regime.
const std::set<std::string> experiment_keys{"$schema", "name",    "device", "threads", "seed",
                                            "seeds",   "regimes", "budget", "columns"};

// Keys of the document that no regime has, for hints.
std::vector<std::string> keys_beside_a_regime() {
  std::vector<std::string> keys(experiment_keys.begin(), experiment_keys.end());
  keys.insert(keys.end(), {"tune", "tuning"});
  return keys;
}

DataOptions read_data(const ConfigReader& json, const DatasetRegistry& registry) {
  DataOptions data;
  data.dataset = ConfiguredDataset::read(json, registry);
  const ConfigReader augment = json.object("augment");
  data.augment.padding =
      static_cast<int32_t>(augment.integer("crop_padding", {.default_value = 0, .at_least = 0, .at_most = 64}));
  data.augment.flip = augment.boolean("flip", false);
  if (const auto normalize = json.optional_object("normalize")) {
    data.mean = normalize->numbers("mean", {.length = {.at_least = 1}});
    data.standard_deviation = normalize->numbers("std", {.length = {.at_least = 1}, .each = {.above = 0}});
    const bool lists = normalize->any("mean", nullptr).is_array() && normalize->any("std", nullptr).is_array();
    if (lists && data.mean.size() != data.standard_deviation.size())
      normalize->error("std", "must have as many values as mean");
  }
  return data;
}

BatchOptions read_batch(const ConfigReader& json) {
  BatchOptions batch;
  batch.size = json.integer("size", {.default_value = 128, .at_least = 1});
  batch.micro = json.optional_integer("micro", {.at_least = 1});
  batch.ghost_size = json.optional_integer("ghost_size", {.at_least = 2});
  batch.drop_last = json.boolean("drop_last", false);
  if (batch.micro && *batch.micro > batch.size)
    json.error("micro", fmt::format("is above the batch size {}", batch.size));
  if (batch.micro && batch.ghost_size && *batch.micro % *batch.ghost_size != 0)
    json.error("micro",
               fmt::format("must be a multiple of the ghost size {}: ghost groups stay whole", *batch.ghost_size));
  for (const ConfigReader& entry : json.objects("change")) {
    BatchChange change;
    change.epochs = entry.integer("epochs", {.at_least = 1});
    change.size = entry.integer("size", {.at_least = 1});
    change.learning_rate = entry.optional_number("learning_rate", {.above = 0});
    batch.changes.push_back(change);
  }
  return batch;
}

kernels::Precision read_precision(const ConfigReader& root) {
  using enum kernels::Precision;
  return root.choice<kernels::Precision>("precision",
                                         {{name_of(fp32), fp32}, {name_of(tf32), tf32}, {name_of(half), half}}, tf32);
}

void check_changes(const ConfigReader& batch, const Regime& regime) {
  int64_t epochs = 0;
  for (const BatchChange& change : regime.batch.changes) epochs += change.epochs;
  if (epochs >= regime.epochs && epochs > 0)
    batch.error("change",
                fmt::format("covers {} epochs of a run of {}, so batch.size is never used", epochs, regime.epochs));
}

constexpr size_t most_reported_problems = 100;  // of all regimes

// A problem and the regimes that have it.
struct RegimeProblem {
  std::string text;
  std::vector<std::string> regimes;
};

void add_problem(std::vector<RegimeProblem>& problems, const std::string& text, const std::string& regime) {
  const auto known = std::find_if(problems.begin(), problems.end(),
                                  [&](const RegimeProblem& problem) { return problem.text == text; });
  if (known == problems.end() && problems.size() < most_reported_problems)
    problems.push_back({text, {regime}});
  else if (known != problems.end())
    known->regimes.push_back(regime);
}

// An assignment may begin with "$.", like the paths in error messages.
std::string_view without_root(std::string_view assignment) {
  if (assignment.starts_with("$.")) assignment.remove_prefix(2);
  return assignment;
}

// Advice to change one regime only, `--set "regimes[LB+Diag].noise.position=after_momentum"`, in place of an assignment
// to the base.
std::string for_one_regime(const std::string& regime, const std::string& assignment) {
  return "for one regime alone: --set " +
         shell_quoted(fmt::format("regimes[{}].{}", bracketed_name(regime), without_root(assignment)));
}

// The advice after a key that --set gave to all regimes and that some of them do not have.
std::string hint(const RegimeProblem& problem, const std::vector<Regime>& regimes,
                 const std::vector<std::string>& assignments) {
  const auto other = std::find_if(regimes.begin(), regimes.end(), [&](const Regime& regime) {
    return std::find(problem.regimes.begin(), problem.regimes.end(), regime.name) == problem.regimes.end();
  });
  for (const std::string& assignment : assignments) {
    const std::string_view path = without_root(split_assignment(assignment).path);
    if (other != regimes.end() && problem.text.starts_with(fmt::format("$.{}: unknown key", path)))
      return "; " + for_one_regime(other->name, assignment);
  }
  return "";
}

// The advice after a problem with a text that --set gave as a number or another JSON value.
std::string text_hint(const std::string& problem, const std::vector<std::string>& assignments) {
  for (const std::string& assignment : assignments) {
    const auto [path, value] = split_assignment(assignment);
    if (problem.find(fmt::format("$.{}: expected a text, got ", without_root(path))) == std::string::npos) continue;
    return fmt::format("; as a text: --set {}", shell_quoted(fmt::format("{}={}", path, Json(value).dump())));
  }
  return "";
}

// The problem with the name of a regime in the place of a key, as of --set LB.epochs=3; others are returned unchanged.
std::string without_regime_as_key(const std::string& problem, const std::vector<Regime>& regimes) {
  for (const Regime& regime : regimes) {
    const std::string path = json_member_path("$", regime.name);
    if (!regime.name.empty() && problem.starts_with(path + ": unknown key"))
      return fmt::format("{}: unknown key; a value of this regime is regimes[{}].PATH", path,
                         bracketed_name(regime.name));
  }
  return problem;
}

// The message of a problem. A mistake in the base occurs in every regime and is reported once.
std::string message_of(const RegimeProblem& problem, const std::vector<Regime>& regimes,
                       const std::vector<std::string>& assignments) {
  const bool all = problem.regimes.size() == regimes.size();
  if (all && (regimes.size() > 1 || regimes.front().name.empty())) return problem.text;
  return fmt::format("regime{} {}: {}{}", problem.regimes.size() > 1 ? "s" : "", quoted_list(problem.regimes),
                     problem.text, hint(problem, regimes, assignments));
}

Regime read_regime(const Json& document, const std::string& origin, const std::string& name,
                   const Extensions& extensions, double budget, std::vector<RegimeProblem>& problems) {
  Config config(document, origin);
  Regime regime = read_regime_keys(config.root(), extensions);
  regime.name = name;
  regime.place = name.empty() ? origin : fmt::format("{}: regime \"{}\"", origin, name);
  try {
    regime.effective = config.finish(keys_beside_a_regime());
    regime.effective.erase("expect");  // does not affect the run
    if (budget != 1) apply_budget(regime, budget, extensions);
  } catch (const ConfigError& error) {
    for (const std::string& problem : error.problems()) add_problem(problems, problem, name);
  }
  return regime;
}

// Names of the regimes that a change of the base leaves unchanged, because they set the value themselves.
std::vector<std::string> not_reached(const Json& before, const Json& after) {
  std::vector<std::string> names;
  if (before == after || !after.contains("regimes") || !after["regimes"].is_array()) return names;
  for (Json patch : after["regimes"]) {
    if (!patch.is_object() || !patch.contains("name") || !patch["name"].is_string()) continue;
    const std::string name = patch["name"];
    patch.erase("name");  // the experiment has a name of its own
    if (config_differences(merge_config(before, patch), merge_config(after, patch)).empty()) names.push_back(name);
  }
  return names;
}

// Why the regimes would take too much memory; empty if they do not.
std::string claim_problem(const Json& regimes, const Json& base) {
  if (regimes.size() > most_regimes)
    return fmt::format("must have at most {} entries, has {}", most_regimes, regimes.size());
  const size_t bytes = base.dump().size();
  if (regimes.size() * bytes <= most_regime_bytes) return {};
  return fmt::format("{} regimes of a document of {} bytes take more than {} MiB", regimes.size(), bytes,
                     most_regime_bytes >> 20);
}

std::vector<uint64_t> read_seeds(const ConfigReader& root) {
  const IntegerRule one{.default_value = 1, .at_least = 0, .at_most = INT64_MAX};
  if (!root.has("seeds")) return {static_cast<uint64_t>(root.integer("seed", one))};
  if (root.has("seed")) root.error("seed", "give either seed or seeds");
  std::vector<uint64_t> seeds;
  for (const int64_t seed : root.integers("seeds", {.length = {.at_least = 1}, .each = one, .distinct = true}))
    seeds.push_back(static_cast<uint64_t>(seed));
  return seeds;
}

// The path of a key that only noisysgd-train --tune reads; empty if there is none.
std::string tuning_key(const Json& document) {
  for (const char* key : {"tune", "tuning"})
    if (document.contains(key)) return json_member_path("$", key);
  const Json regimes = document.value("regimes", Json::array());
  for (size_t i = 0; regimes.is_array() && i < regimes.size(); ++i)
    if (regimes[i].is_object() && regimes[i].contains("tune"))
      return json_member_path(json_element_path("$.regimes", i), "tune");
  return {};
}

}  // namespace

Experiment read_experiment_keys(const ConfigReader& root) {
  Experiment experiment;
  root.optional_string(schema_key);
  experiment.name = root.string("name", "experiment");
  if (const std::string problem = folder_name_problem(experiment.name); !problem.empty()) root.error("name", problem);
  experiment.device = root.string("device", "auto");
  experiment.threads = static_cast<int>(root.integer("threads", {.default_value = 0, .at_least = 0, .at_most = 4096}));
  experiment.seeds = read_seeds(root);
  experiment.budget = root.number("budget", {.default_value = 1, .above = 0, .at_most = 1});
  experiment.columns = root.strings("columns", {.default_value = std::vector<std::string>{}});
  return experiment;
}

Regime read_regime_keys(const ConfigReader& root, const Extensions& extensions) {
  Regime regime;
  regime.precision = read_precision(root);
  regime.data = read_data(root.object("data"), extensions.datasets);
  root.any("model", Json{{"type", "lenet"}});  // read in full when the images' shape is known: build_network
  const ConfigReader batch = root.object("batch");
  regime.batch = read_batch(batch);
  regime.epochs = root.integer("epochs", {.default_value = 10, .at_least = 1});
  check_changes(batch, regime);
  const ConfigReader optimizer = root.object("optimizer");
  regime.optimizer = extensions.optimizers.read(optimizer);
  extensions.optimizers.build(regime.optimizer.type, optimizer);  // collects its problems
  regime.clip_norm = optimizer.optional_number("clip_norm", {.above = 0});
  regime.scaling = read_learning_rate_scaling(optimizer.object("scaling"));
  regime.weight_average = optimizer.optional_number("weight_average", {.above = 0, .below = 1});
  regime.schedule =
      LearningRateSchedule::read(root.object("schedule"), extensions.schedules, static_cast<double>(regime.epochs));
  regime.initialisation = read_initialisation_rules(root, "init");
  const ConfigReader fisher = root.object("fisher");
  regime.fisher = read_fisher(fisher, regime.batch.ghost_size);
  regime.noise = Noise::read(root.object("noise"), extensions.noises);
  regime.loss = extensions.losses.build(root.object("loss"));
  if (regime.fisher.labels != Labels::data && !regime.loss->samples_labels())
    fisher.error("kind", "\"true\" draws labels from the predicted probabilities, and this loss.type has none");
  regime.evaluation_batch = root.object("evaluation").integer("batch", {.default_value = 1000, .at_least = 1});
  const ConfigReader logging = root.object("logging");
  regime.log_every_steps = logging.integer("every_steps", {.default_value = 10, .at_least = 1});
  read_measurements(logging);  // notes what is wrong
  const ConfigReader checkpoint = root.object("checkpoint");
  regime.checkpoint_every_epochs = checkpoint.integer("every_epochs", {.default_value = 1, .at_least = 1});
  regime.checkpoint_keep_every_epochs = checkpoint.optional_integer("keep_every_epochs", {.at_least = 1});
  regime.checkpoint_best = checkpoint.boolean("best", false);
  if (const auto expect = root.optional_object("expect"))
    regime.expected_accuracy = expect->number("test_accuracy", {.at_least = 0, .at_most = 100});
  return regime;
}

Noise Regime::build_noise(const Extensions& extensions) const {
  return Noise::read(Config(effective.at("noise"), "noise").root(), extensions.noises);
}

std::unique_ptr<Optimizer> Regime::build_optimizer(const Extensions& extensions) const {
  return extensions.optimizers.build(optimizer.type, Config(effective.at("optimizer"), "optimizer").root());
}

Measurements Regime::build_measurements() const {
  return read_measurements(Config(effective.at("logging"), "logging").root());
}

std::unique_ptr<Layer> read_network(const ConfigReader& model, const LayerContext& at) {
  ModelStart::read(model);  // its problems are reported with those of the network
  return at.registry.build(model, at);
}

std::unique_ptr<Layer> Regime::build_network(const Extensions& extensions, const Shape& input, int64_t classes) const {
  Config config(Json{{"model", effective.at("model")}}, place);
  auto network = read_network(config.root().object("model"), {extensions.layers, "", input, classes, batch.ghost_size});
  config.finish();
  NSGD_CHECK(network, "model: the network could not be built");
  return network;
}

ModelStart ModelStart::read(const ConfigReader& model) {
  const StringListRule globs{.default_value = std::vector<std::string>{}};
  return {expand_home(model.optional_string("weights").value_or("")).string(), model.strings("skip_weights", globs),
          model.strings("freeze", globs)};
}

ModelStart Regime::model_start() const { return ModelStart::read(Config(effective.at("model"), "model").root()); }

BatchSchedule Regime::batch_schedule(int64_t images, const SampleCoupling& coupling) const {
  std::vector<BatchPhase> phases;
  int64_t left = epochs;
  const auto add = [&](int64_t count, int64_t size, std::optional<double> rate) {
    const int64_t samples = coupling.usable(std::min(size, images));  // of a whole batch
    phases.push_back({count, size, rate.value_or(optimizer.learning_rate * scaling.factor(samples))});
    const double chosen = phases.back().learning_rate;
    const bool fits = chosen <= std::numeric_limits<float>::max();
    NSGD_CHECK(fits && static_cast<float>(chosen) > 0,
               "optimizer.scaling: the learning rate {} of batches of {} is {} in single precision", chosen, samples,
               fits ? "0" : "infinite");
    left -= count;
  };
  for (const BatchChange& change : batch.changes) add(change.epochs, change.size, change.learning_rate);
  add(left, batch.size, {});
  return BatchSchedule(std::move(phases), images, batch.drop_last, coupling);
}

bool is_experiment_key(const std::string& key) { return experiment_keys.contains(key); }

Experiment read_experiment(const Json& document, const std::string& origin, const Extensions& extensions,
                           const std::vector<std::string>& assignments) {
  Json head = Json::object(), base = Json::object();
  if (!document.is_object()) throw ConfigError(origin, {"$: a configuration is an object {…}"});
  if (const std::string key = tuning_key(document); !key.empty())
    throw ConfigError(
        origin, {key + ": is for noisysgd-train --tune, which chooses values and trains with them; leave it out or "
                       "add --tune"});
  for (const auto& [key, value] : document.items()) (is_experiment_key(key) ? head : base)[key] = value;

  std::vector<std::string> problems;
  std::vector<RegimeProblem> regime_problems;
  Config config(head, origin);
  const ConfigReader root = config.root();
  Experiment experiment = read_experiment_keys(root);
  experiment.document = document;
  Json regimes = root.any("regimes", Json::array());
  if (!regimes.is_array()) root.error("regimes", "must be a list of objects, each with a \"name\"");
  if (const std::string problem = claim_problem(regimes, base); !problem.empty()) {
    root.error("regimes", problem);
    regimes = Json::array();
  }
  try {
    config.finish();
  } catch (const ConfigError& error) {
    problems = error.problems();
  }

  if (regimes.is_array() && regimes.empty())
    experiment.regimes.push_back(read_regime(base, origin, "", extensions, experiment.budget, regime_problems));
  std::set<std::string> names;
  for (size_t i = 0; regimes.is_array() && i < regimes.size(); ++i) {
    Json patch = regimes[i];
    const std::string path = json_element_path("$.regimes", i);
    if (!patch.is_object() || !patch.contains("name") || !patch["name"].is_string() ||
        patch["name"].get<std::string>().empty()) {
      problems.push_back(fmt::format("{}: must be an object with a \"name\"", path));
      continue;
    }
    const std::string name = patch["name"];
    patch.erase("name");
    if (const std::string problem = regime_name_problem(name); !problem.empty())
      problems.push_back(fmt::format("{}.name: {}", path, problem));
    if (!names.insert(name).second) problems.push_back(fmt::format("{}.name: \"{}\" is used twice", path, name));
    for (const std::string& key : experiment_keys)
      if (patch.erase(key) > 0)
        problems.push_back(json_member_path(path, key) +
                           ": is a key of the whole document; regimes do not differ in it");
    experiment.regimes.push_back(
        read_regime(merge_config(base, patch), origin, name, extensions, experiment.budget, regime_problems));
  }
  for (const RegimeProblem& problem : regime_problems)
    problems.push_back(message_of(problem, experiment.regimes, assignments));
  for (const Regime& regime : experiment.regimes)
    if (regime.data.evaluated_set() != experiment.regimes.front().data.evaluated_set())
      problems.push_back(
          fmt::format("data.holdout: regime \"{}\" is evaluated on {} images and \"{}\" on {} images, "
                      "but all regimes of a table must be evaluated on the same images",
                      experiment.regimes.front().name, experiment.regimes.front().data.evaluated_set(), regime.name,
                      regime.data.evaluated_set()));
  for (size_t i = 0; problems.empty() && i < experiment.columns.size(); ++i) {
    const std::string& path = experiment.columns[i];
    if (std::none_of(experiment.regimes.begin(), experiment.regimes.end(),
                     [&](const Regime& regime) { return find_value(regime.effective, path); }))
      problems.push_back(fmt::format("{}: no regime has a value \"{}\"", json_element_path("$.columns", i), path));
  }
  for (std::string& problem : problems) {
    problem = without_regime_as_key(problem, experiment.regimes);
    problem += text_hint(problem, assignments);
  }
  if (!problems.empty()) throw ConfigError(origin, std::move(problems));
  return experiment;
}

namespace {

// Applies one --set.
void assign(GivenDocument& given, const std::string& assignment) {
  Json& document = given.document;
  const Json before = document;
  apply_override(document, assignment);
  if (const auto names = not_reached(before, document); !names.empty()) {
    if (names.size() == document["regimes"].size())
      throw ConfigError(fmt::format("override \"{}\": changes nothing, every regime sets its own; {}", assignment,
                                    for_one_regime(names.front(), assignment)));
    given.notes.push_back(fmt::format("--set {}: does not change {}, which {} its own", assignment, quoted_list(names),
                                      names.size() > 1 ? "set" : "sets"));
  }
  keep_one_of_seed_and_seeds(document, assignment);
}

}  // namespace

void keep_one_of_seed_and_seeds(Json& document, const std::string& assignment) {
  if (without_root(assignment).starts_with("seed=")) document.erase("seeds");
  if (without_root(assignment).starts_with("seeds=")) document.erase("seed");
}

GivenDocument read_document(const std::string& path, const std::vector<std::string>& assignments) {
  GivenDocument given{.document = {}, .origin = path, .assignments = assignments, .notes = {}};
  given.document = parse_config_file(path, given.problems);
  try {
    for (const std::string& assignment : assignments) assign(given, assignment);
  } catch (const ConfigError&) {
    with_earlier_problems(path, given.problems, [] { throw; });
  }
  return given;
}

Experiment read_experiment(const GivenDocument& given, const Extensions& extensions) {
  return with_earlier_problems(given.origin, given.problems, [&] {
    Experiment experiment = read_experiment(given.document, given.origin, extensions, given.assignments);
    experiment.notes = given.notes;
    return experiment;
  });
}

Experiment read_experiment_file(const std::string& path, const std::vector<std::string>& assignments,
                                const Extensions& extensions) {
  return read_experiment(read_document(path, assignments), extensions);
}

}  // namespace noisysgd
