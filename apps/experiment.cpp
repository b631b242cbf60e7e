#include "apps/experiment.h"

#include <set>

#include "apps/budget.h"

namespace noisysgd {

namespace {

// Keys that belong to the experiment, not to a regime.
const std::set<std::string> experiment_keys{"name", "device", "threads", "seed", "seeds", "regimes", "budget"};

SyntheticOptions read_synthetic(const ConfigReader& json) {
  SyntheticOptions options;
  options.train_count = json.integer("train_size", {.default_value = options.train_count, .at_least = 1});
  options.test_count = json.integer("test_size", {.default_value = options.test_count, .at_least = 1});
  options.colour = json.boolean("colour", options.colour);
  options.difficulty = json.number("difficulty", {.default_value = options.difficulty, .at_least = 0, .at_most = 1});
  options.label_noise = json.number("label_noise", {.default_value = options.label_noise, .at_least = 0, .at_most = 1});
  options.seed =
      static_cast<uint64_t>(json.integer("seed", {.default_value = static_cast<int64_t>(options.seed), .at_least = 0}));
  return options;
}

DataOptions read_data(const ConfigReader& json) {
  DataOptions data;
  DatasetOptions& set = data.dataset;
  set.type = json.choice("type", dataset_types(), "synthetic");
  if (set.type == "synthetic") {
    set.synthetic = read_synthetic(json);
  } else {
    set.root = json.string("root", "datasets");
    set.train_limit = json.integer("train_limit", {.default_value = 0, .at_least = 0});
    set.test_limit = json.integer("test_limit", {.default_value = 0, .at_least = 0});
  }
  set.holdout = json.integer("holdout", {.default_value = 0, .at_least = 0});
  if (set.type == "image_folder") {
    set.height = json.integer("height", {.default_value = 0, .at_least = 0});
    set.width = json.integer("width", {.default_value = 0, .at_least = 0});
    set.channels = json.integer("channels", {.default_value = 0, .at_least = 0, .at_most = 3});
  }
  const ConfigReader augment = json.object("augment");
  data.augment.padding =
      static_cast<int32_t>(augment.integer("crop_padding", {.default_value = 0, .at_least = 0, .at_most = 64}));
  data.augment.flip = augment.boolean("flip", false);
  if (const auto normalize = json.optional_object("normalize")) {
    data.mean = normalize->numbers("mean");
    data.standard_deviation = normalize->numbers("std", {.each = {.above = 0}});
    if (data.mean.size() != data.standard_deviation.size()) normalize->error("std", "must have as many values as mean");
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
                                         {{name_of(fp32), fp32}, {name_of(tf32), tf32}, {name_of(bf16), bf16}}, tf32);
}

void check_changes(const ConfigReader& batch, const Regime& regime) {
  int64_t epochs = 0;
  for (const BatchChange& change : regime.batch.changes) epochs += change.epochs;
  if (epochs >= regime.epochs && epochs > 0)
    batch.error("change",
                fmt::format("takes {} epochs of a run of {}, so that batch.size is never used", epochs, regime.epochs));
}

Regime read_regime(const Json& document, const std::string& origin, const std::string& name,
                   const Extensions& extensions, double budget, std::vector<std::string>& problems) {
  Config config(document, origin);
  const ConfigReader root = config.root();
  Regime regime;
  regime.name = name;
  regime.precision = read_precision(root);
  regime.data = read_data(root.object("data"));
  root.any("model", Json{{"type", "lenet"}});  // read in full when the images' shape is known: build_network
  const ConfigReader batch = root.object("batch");
  regime.batch = read_batch(batch);
  regime.epochs = root.integer("epochs", {.default_value = 10, .at_least = 1});
  check_changes(batch, regime);
  const ConfigReader optimizer = root.object("optimizer");
  regime.sgd = read_sgd(optimizer);
  regime.scaling = read_learning_rate_scaling(optimizer.object("scaling"));
  regime.weight_average = optimizer.optional_number("weight_average", {.above = 0, .below = 1});
  regime.schedule = read_schedule(root.object("schedule"), static_cast<double>(regime.epochs));
  regime.initialisation = read_initialisation_rules(root, "init");
  regime.fisher = read_fisher(root.object("fisher"), regime.batch.ghost_size);
  regime.noise = Noise::read(root.object("noise"), extensions.noises);
  regime.label_smoothing = static_cast<float>(
      root.object("loss").number("label_smoothing", {.default_value = 0, .at_least = 0, .below = 1}));
  regime.evaluation_batch = root.object("evaluation").integer("batch", {.default_value = 1000, .at_least = 1});
  const ConfigReader logging = root.object("logging");
  regime.log_every_steps = logging.integer("every_steps", {.default_value = 10, .at_least = 1});
  regime.log_layers = logging.boolean("per_layer", false);
  regime.log_groups = logging.optional_integer("groups", {.at_least = 2});
  if (regime.log_groups && !regime.log_layers) logging.error("groups", "needs \"per_layer\": true");
  regime.checkpoint_every_epochs =
      root.object("checkpoint").integer("every_epochs", {.default_value = 1, .at_least = 1});
  if (const auto expect = root.optional_object("expect"))
    regime.expected_accuracy = expect->number("test_accuracy", {.at_least = 0, .at_most = 100});
  try {
    regime.effective = config.finish();
    regime.effective.erase("expect");  // says nothing about the run
    if (budget != 1) apply_budget(regime, budget);
  } catch (const ConfigError& error) {
    for (const std::string& problem : error.problems())
      problems.push_back(name.empty() ? problem : fmt::format("regime \"{}\": {}", name, problem));
  }
  return regime;
}

std::vector<uint64_t> read_seeds(const ConfigReader& root) {
  if (!root.has("seeds")) return {static_cast<uint64_t>(root.integer("seed", {.default_value = 1, .at_least = 0}))};
  if (root.has("seed")) root.error("seed", "give either seed or seeds");
  std::vector<uint64_t> seeds;
  for (const int64_t seed : root.integers("seeds", {.length = {.at_least = 1}, .each = {.at_least = 0}}))
    seeds.push_back(static_cast<uint64_t>(seed));
  if (std::set<uint64_t>(seeds.begin(), seeds.end()).size() != seeds.size()) root.error("seeds", "names a seed twice");
  return seeds;
}

}  // namespace

std::unique_ptr<Layer> Regime::build_network(const Extensions& extensions, const Shape& input, int64_t classes) const {
  Config config(Json{{"model", effective.at("model")}},
                name.empty() ? "model" : fmt::format("model of regime \"{}\"", name));
  auto network =
      extensions.layers.build(config.root().object("model"), {extensions.layers, "", input, classes, batch.ghost_size});
  config.finish();
  NSGD_CHECK(network, "the network could not be built");
  return network;
}

BatchSchedule Regime::batch_schedule(int64_t samples, int64_t least_batch) const {
  std::vector<BatchPhase> phases;
  int64_t left = epochs;
  const auto add = [&](int64_t count, int64_t size, std::optional<double> rate) {
    phases.push_back({count, size, rate.value_or(sgd.learning_rate * scaling.factor(size))});
    left -= count;
  };
  for (const BatchChange& change : batch.changes) add(change.epochs, change.size, change.learning_rate);
  add(left, batch.size, {});
  return BatchSchedule(std::move(phases), samples, batch.drop_last, least_batch);
}

Experiment read_experiment(const Json& document, const std::string& origin, const Extensions& extensions) {
  Experiment experiment;
  experiment.document = document;

  Json head = Json::object(), base = Json::object();
  if (!document.is_object()) throw ConfigError(origin, {"$: a configuration is an object {…}"});
  for (const auto& [key, value] : document.items()) (experiment_keys.contains(key) ? head : base)[key] = value;

  std::vector<std::string> problems;
  Config config(head, origin);
  const ConfigReader root = config.root();
  experiment.name = root.string("name", "experiment");
  experiment.device = root.string("device", "auto");
  experiment.threads = static_cast<int>(root.integer("threads", {.default_value = 0, .at_least = 0, .at_most = 4096}));
  experiment.seeds = read_seeds(root);
  experiment.budget = root.number("budget", {.default_value = 1, .above = 0, .at_most = 1});
  const Json regimes = root.any("regimes", Json::array());
  if (!regimes.is_array()) root.error("regimes", "must be a list of objects, each with a \"name\"");
  try {
    config.finish();
  } catch (const ConfigError& error) {
    problems = error.problems();
  }

  if (regimes.is_array() && regimes.empty())
    experiment.regimes.push_back(read_regime(base, origin, "", extensions, experiment.budget, problems));
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
    if (name.find('/') != std::string::npos || name[0] == '.')
      problems.push_back(fmt::format("{}.name: \"{}\" cannot name a folder", path, name));
    if (!names.insert(name).second) problems.push_back(fmt::format("{}.name: \"{}\" is used twice", path, name));
    experiment.regimes.push_back(
        read_regime(merge_config(base, patch), origin, name, extensions, experiment.budget, problems));
  }
  for (const Regime& regime : experiment.regimes)
    if (regime.data.evaluated_set() != experiment.regimes.front().data.evaluated_set())
      problems.push_back(
          fmt::format("data.holdout: regime \"{}\" is evaluated on {} images and \"{}\" on {} images, "
                      "which no table should compare",
                      experiment.regimes.front().name, experiment.regimes.front().data.evaluated_set(), regime.name,
                      regime.data.evaluated_set()));
  if (!problems.empty()) {
    // A mistake in the base shows in every regime; once is enough.
    std::vector<std::string> unique;
    for (std::string& problem : problems)
      if (std::find(unique.begin(), unique.end(), problem) == unique.end()) unique.push_back(std::move(problem));
    throw ConfigError(origin, std::move(unique));
  }
  return experiment;
}

Experiment read_experiment_file(const std::string& path, const std::vector<std::string>& assignments,
                                const Extensions& extensions) {
  Json document = parse_config_file(path);
  for (const std::string& assignment : assignments) {
    apply_override(document, assignment);
    // Either says which seeds to run: the one of the file gives way.
    if (assignment.starts_with("seed=")) document.erase("seeds");
    if (assignment.starts_with("seeds=")) document.erase("seed");
  }
  return read_experiment(document, path, extensions);
}

}  // namespace noisysgd
