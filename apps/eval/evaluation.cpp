#include <noisysgd/apps/eval/evaluation.h>

#include <fmt/format.h>

#include <span>
#include <string_view>

#include <noisysgd/apps/evaluate.h>
#include <noisysgd/apps/make_model.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/train_app.h>

namespace noisysgd {

namespace {

namespace fs = std::filesystem;

// What an evaluation reads of a configuration.
bool is_evaluated(std::string_view path) {
  if (path.starts_with("$.")) path.remove_prefix(2);
  const std::string_view key = path.substr(0, path.find_first_of(".["));
  return key == "data" || key == "evaluation" || key == "precision";
}

// The data set of --data as --set would write it.
std::string data_assignment(const std::string& data) {
  if (!data.starts_with('{')) return "data=" + Json{{"type", data}}.dump();
  return "data=" + parse_json(data, "--data").dump();  // its errors name this argument
}

Json with_assignments(Json config, const EvaluationRequest& request, const fs::path& checkpoint) {
  const Json normalize = config.at("data").value("normalize", Json());
  if (!request.data.empty()) apply_override(config, data_assignment(request.data));
  for (const std::string& assignment : request.assignments) {
    NSGD_CHECK(is_evaluated(split_assignment(assignment).path),
               "--set {}: changes nothing in an evaluation; data, evaluation and precision can be set", assignment);
    apply_override(config, assignment);
  }
  const Json here = config.at("data").is_object() ? config.at("data").value("normalize", Json()) : Json();
  NSGD_CHECK(here.is_null() || here == normalize,
             "data.normalize: cannot be set, as the images are normalised as in training: by what {} holds",
             checkpoint.string());
  return config;
}

// What a configuration says of a network and its data. Throws Error if its regimes differ in that.
Json network_of(const std::string& path, const Extensions& extensions) {
  const Experiment experiment = read_experiment_file(path, {}, extensions);
  const Json& first = experiment.regimes.at(0).effective;
  for (const Regime& regime : experiment.regimes)
    for (const char* key : {"model", "data", "loss", "evaluation", "precision"})
      NSGD_CHECK(regime.effective.value(key, Json()) == first.value(key, Json()),
                 "--config {}: regimes \"{}\" and \"{}\" differ in \"{}\"; expected one network", path,
                 experiment.regimes.at(0).name, regime.name, key);
  return first;
}

// The identity of the run that wrote a checkpoint, and its parts. Of weights without one: of no run.
struct WrittenBy {
  WrittenBy(const Checkpoint& checkpoint, const std::string& config, const Extensions& extensions) {
    const std::optional<Json> there = checkpoint.identity();
    const std::string file = checkpoint.path().string();
    NSGD_CHECK(there || !config.empty(),
               "{}: does not say which network it holds; expected a checkpoint of noisysgd-train, or --config with the "
               "configuration of the network",
               file);
    NSGD_CHECK(!there || config.empty(), "--config {}: {} says itself which network it holds; leave --config out",
               config, file);
    of_run = there.has_value();
    identity = of_run ? *there : Json{{"config", network_of(config, extensions)}};
    if (!of_run) return;
    try {
      run = run_name(identity);
      NSGD_CHECK(identity["config"].contains("data") && identity["config"]["data"].is_object(),
                 "\"config\" has no object \"data\"");
    } catch (const Error& error) {
      throw Error(fmt::format("{}: {}", checkpoint.path().string(), error.what()));
    }
    step = checkpoint.steps();
  }
  Json identity;
  bool of_run = true;
  RunName run{};
  int64_t step = 0;
};

Regime regime_of(const Json& config, const WrittenBy& writer, const fs::path& checkpoint,
                 const Extensions& extensions) {
  Regime regime = read_experiment(config, checkpoint.string(), extensions).regimes.at(0);
  regime.name = writer.run.regime;
  return regime;
}

}  // namespace

Evaluation evaluate_checkpoint(const EvaluationRequest& request, const Extensions& extensions) {
  const Checkpoint checkpoint(checkpoint_of(request.source));
  const fs::path& path = checkpoint.path();
  const WrittenBy writer(checkpoint, request.config, extensions);
  const Json& trained = writer.identity.at("config");
  const Regime regime = regime_of(with_assignments(trained, request, path), writer, path, extensions);
  const SavedWeights weights =
      request.weights.value_or(regime.weight_average ? SavedWeights::average : SavedWeights::last);
  NSGD_CHECK(checkpoint.holds(weights), "{}: holds no average of the weights; optimizer.weight_average makes one",
             path.string());

  TrainingData data;
  data.sets = at_place(regime, [&] { return regime.data.dataset.load(); });
  std::optional<DataDescription> described = checkpoint.data();
  if (!described) {  // of an older version, or weights alone
    const auto original = DataCache().get(regime_of(trained, writer, path, extensions));
    described = DataDescription::of(original->sets.train, original->normalisation);
  }
  data.normalisation = described->normalisation;
  const auto difference = described->difference(DataDescription::of(data.sets.test, data.normalisation));
  NSGD_CHECK(!difference, "{}: {} do not fit the network: {}", path.string(), data.sets.test.name, *difference);

  Context context(parse_device(request.device), request.threads);
  context.queue.set_precision(regime.precision);
  Model model = make_model(context, regime, data, extensions);
  checkpoint.load(model, weights);
  const Loader images(context, data.sets.test, data.normalisation);

  Evaluation result{.checkpoint = path,
                    .of_run = writer.of_run,
                    .regime = writer.run.regime,
                    .seed = writer.run.seed,
                    .step = writer.step,
                    .weights = weights,
                    .images = data.sets.test.name,
                    .set = regime.data.evaluated_set(),
                    .class_names = described->class_names,
                    .probabilities = model.loss().samples_labels(),
                    .scores = Scores(model.classes()),
                    .logits = {}};
  const auto classes = static_cast<size_t>(model.classes());
  const auto see = [&](const Batch& batch, const Tensor& logits) {
    const std::vector<float> values = to_host<float>(context, logits);
    if (request.keeps_logits) result.logits.insert(result.logits.end(), values.begin(), values.end());
    const std::vector<int32_t> labels = to_host<int32_t>(context, batch.labels);
    for (size_t n = 0; n < labels.size(); ++n)
      result.scores.add(std::span(values).subspan(n * classes, classes), labels[n]);
  };
  const kernels::LossSums sums = evaluate(model, images, regime.evaluation_batch, see);
  NSGD_CHECK(!sums.nonfinite, "{}: the loss of the {} is not finite", path.string(), result.images);
  result.loss = sums.loss / static_cast<double>(sums.samples);
  return result;
}

}  // namespace noisysgd
