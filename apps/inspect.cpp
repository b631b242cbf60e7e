#include <noisysgd/apps/inspect.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/initial_values.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/train_app.h>
#include <noisysgd/apps/trainer.h>
#include <noisysgd/apps/version.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/safetensors.h>
#include <noisysgd/core/suggest.h>
#include <noisysgd/core/text_table.h>
#include <noisysgd/data/loader.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/optim/layer_measurement.h>

namespace noisysgd {

namespace {

const Regime& find_regime(const Experiment& experiment, const std::string& name) {
  if (name.empty()) return experiment.regimes.front();
  NSGD_CHECK(!experiment.regimes.front().name.empty(), "the configuration has no regimes, so none is named \"{}\"",
             name);
  std::vector<std::string> names;
  for (const Regime& regime : experiment.regimes) {
    if (regime.name == name) return regime;
    names.push_back(regime.name);
  }
  throw Error(fmt::format("no regime is named \"{}\"{}", name, suggestion(name, names)));
}

// True if the option has its default value: without it, the noise reads the same.
bool is_default(const Json& noise, const std::string& key, const NoiseRegistry& registry) {
  Json without = noise;
  without.erase(key);
  Config config(without, "noise");
  try {
    Noise::read(config.root(), registry);
    return config.finish() == noise;
  } catch (const ConfigError&) {
    return false;  // the option is required
  }
}

// True for a file that this program has written, so it may write another in its place.
bool is_inspection(const std::filesystem::path& path) {
  try {
    return SafetensorsFile(path).metadata().contains("fisher.conv");
  } catch (const Error&) {
    return false;
  }
}

std::string plain_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

StoredMetadata describe(const Regime& regime, const Extensions& extensions, const Model& model, int64_t samples,
                        uint64_t seed) {
  StoredMetadata metadata{{"version", version()},
                          {"commit", commit()},
                          {"seed", std::to_string(seed)},
                          {"regime", regime.name},
                          {"precision", name_of(model.context().queue.precision())},
                          {"graph", model.graph().json().dump()},
                          {"fisher.conv", std::string(name_of(regime.fisher.conv))},
                          {"fisher.kind", std::string(regime.fisher.kind())},
                          {"fisher.centered", regime.fisher.centered ? "true" : "false"},
                          {"fisher.batch_norm", std::string(regime.fisher.batch_norm_name())}};
  if (regime.batch.ghost_size) metadata["batch.ghost_size"] = std::to_string(*regime.batch.ghost_size);
  const Json& noise = regime.effective.at("noise");
  for (const auto& [key, value] : noise.items()) {
    const bool always = key == "type" || key == "small_batch" || key == "sigma";
    if (always || !is_default(noise, key, extensions.noises)) metadata["noise." + key] = plain_text(value);
  }
  if (noise.contains("large_batch") && noise.at("large_batch").is_null())
    metadata["noise.large_batch"] = std::to_string(samples);  // null: the size of each batch
  return metadata;
}

// Collects the tensors of the file, and owns converted values until they are written.
class Export {
 public:
  template <class T>
  void add(std::string name, StoredShape shape, std::span<const T> values) {
    auto& bytes = owned_.emplace_back(reinterpret_cast<const std::byte*>(values.data()),
                                      reinterpret_cast<const std::byte*>(values.data() + values.size()));
    tensors_.push_back({std::move(name), stored_type_of<T>(), std::move(shape), bytes});
  }
  // values: in the parameter's memory order
  void add(const std::string& prefix, const Parameter& parameter, const float* values) {
    std::vector<float> exported(static_cast<size_t>(parameter.shape.elements()));
    to_exported_layout(parameter, values, exported.data());
    add<float>(prefix + parameter.name, parameter.exported_shape().extents(), exported);
  }
  void add_labels(Context& context, std::string name, const Tensor& labels) {
    const std::vector<int32_t> values = to_host<int32_t>(context, labels);
    const std::vector<int64_t> wide(values.begin(), values.end());  // PyTorch's type of class indices
    add<int64_t>(std::move(name), labels.shape().extents(), wide);
  }
  void write(const std::filesystem::path& path, const StoredMetadata& metadata) const {
    write_safetensors(path, tensors_, metadata);
  }

 private:
  std::deque<std::vector<std::byte>> owned_;
  std::vector<StoredTensor> tensors_;
};

void add_images(Context& context, Export& file, const Tensor& images) {
  const Shape& nhwc = images.shape();
  const Shape nchw{nhwc[0], nhwc[3], nhwc[1], nhwc[2]};
  const Tensor exported(context, nchw);
  kernels::nhwc_to_nchw(context.queue, nhwc[0], nhwc[1] * nhwc[2], nhwc[3], images.f32(), exported.f32());
  file.add<float>("input.images", nchw.extents(), to_host<float>(context, exported));
}

std::string norm_text(const float* values, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(values[i]) * values[i];
  return fmt::format("{:.6g}", std::sqrt(squares));
}

}  // namespace

std::string inspect(const Experiment& experiment, const Extensions& extensions, const InspectOptions& options) {
  check_replaceable(
      options.output, [&] { return is_inspection(options.output); }, "written by noisysgd-inspect");
  const Regime& regime = find_regime(experiment, options.regime);
  const uint64_t seed = options.seed.value_or(experiment.seeds.front());
  std::string notes;
  for (const std::string& note : experiment.notes) notes += note + "\n";

  Context context(parse_device(experiment.device), experiment.threads);
  context.queue.set_precision(regime.precision);
  const auto data = DataCache().get(regime);
  const Dataset& train = data->sets.train;
  const Loader loader(context, train, data->normalisation, regime.data.augment);
  Model model = make_model(context, regime, *data, extensions);
  if (!options.checkpoint)
    set_initial_values(model, regime, seed);
  else
    Checkpoint(checkpoint_of(*options.checkpoint)).load(model, SavedWeights::last);

  const int64_t wanted = options.batch.value_or(std::min(regime.batch.size, loader.count()));
  NSGD_CHECK(wanted >= 1 && wanted <= loader.count(), "a batch of {} cannot be taken from {} training images", wanted,
             loader.count());
  const int64_t samples = model.coupling().usable(wanted);
  NSGD_CHECK(samples > 0, "a batch of {} is too small: batch_norm has one value per channel in it", wanted);
  if (samples < wanted)
    notes += fmt::format("note: {} of {} samples are used, a multiple of the ghost size\n", samples, wanted);

  if (options.noise_draws > 0 && !(regime.noise.active() && regime.noise.acts_on(samples)))
    notes += fmt::format("note: {} samples of this regime get no noise: all draws are zero\n", samples);
  const Batch batch = loader.shuffled({}, samples, seed);
  const Tensor inference = model.logits(batch.images);  // before the training pass changes the running statistics
  Noise noise = regime.build_noise(extensions);
  const auto optimizer = regime.build_optimizer(extensions);
  StepOptions step_options = noisysgd::step_options(regime, seed);
  step_options.measurements = {std::make_shared<LayerMeasurement>()};  // for the second moment of every layer
  step_options.keep_gradient = true;
  Step step(context, model, noise, *optimizer, nullptr, step_options);
  step.begin_noise();
  const auto recipe = [&](uint32_t draw) {
    return step.recipe({.values = {.step = draw}, .samples = samples, .noise = true, .logged = true});
  };
  const BatchSource source = [&](const StepNumbers&, int64_t begin, int64_t count) {
    return batch.rows(begin, begin + count);
  };
  const Tensor logits(context, {samples, model.classes()}), fisher_labels(context, {samples}, DType::i32);
  step.accumulate(recipe(0), source, {}, {logits, fisher_labels});
  const kernels::LossSums losses = step.training_sums().read().step;
  check(losses);

  Export file;
  add_images(context, file, batch.images);
  file.add_labels(context, "input.labels", batch.labels);
  file.add<float>("logits", logits.shape().extents(), to_host<float>(context, logits));
  file.add<float>("logits.evaluation", inference.shape().extents(), to_host<float>(context, inference));
  const auto loss = static_cast<float>(losses.loss / static_cast<double>(samples));
  file.add<float>("loss", {}, {&loss, 1});
  if (regime.fisher.labels == Labels::sampled) file.add_labels(context, "fisher.labels", fisher_labels);

  TextTable table({"parameter", "shape", "|value|", "|gradient|", "trace of F"});
  const float inverse = 1.0f / static_cast<float>(samples);
  for (const Parameter* parameter : model.parameters()) {
    const int64_t n = parameter->shape.elements();
    const std::vector<float> value = to_host<float>(context, parameter->value);
    std::vector<float> gradient = to_host<float>(context, step.sums().gradient.of(*parameter)),
                       diagonal(static_cast<size_t>(n));
    fisher_diagonal(regime.fisher.of_one_batch(), *parameter, samples, gradient,
                    to_host<float>(context, step.sums().second_moment.of(*parameter)), diagonal.data());
    for (float& sum : gradient) sum *= inverse;
    file.add("param.", *parameter, value.data());
    file.add("grad.", *parameter, gradient.data());
    file.add("fisher_diag.", *parameter, diagonal.data());
    double trace = 0;
    for (const float d : diagonal) trace += d;
    table.add_row({parameter->name, parameter->exported_shape().text(), norm_text(value.data(), n),
                   norm_text(gradient.data(), n), fmt::format("{:.6g}", trace)});
  }

  for (int64_t draw = 0; draw < options.noise_draws; ++draw) {
    const auto number = static_cast<uint32_t>(draw);
    if (draw > 0 && noise.forms_in_backward()) step.accumulate(recipe(number), source, {}, {}, number);
    const std::vector<Tensor> drawn = step.draw_noise(recipe(number), number);
    for (size_t i = 0; i < drawn.size(); ++i)
      file.add(fmt::format("noise.{}.", draw), *model.parameters()[i], to_host<float>(context, drawn[i]).data());
  }

  const StoredMetadata metadata = describe(regime, extensions, model, samples, seed);
  file.write(options.output, metadata);

  std::string summary = notes;
  summary += fmt::format("{}{}, seed {}: {} samples of {}\n", experiment.name,
                         regime.name.empty() ? "" : ", regime " + regime.name, seed, samples, train.name);
  summary += fmt::format("loss {:.6f}, accuracy {:.2f} %\n\n", loss,
                         100.0 * static_cast<double>(losses.correct) / static_cast<double>(samples));
  summary += table.text();
  summary += fmt::format("\nfisher: {}, {}{}; noise: {}, {} draws\n{}\n", metadata.at("fisher.conv"),
                         metadata.at("fisher.kind"), regime.fisher.centered ? ", centered" : "",
                         metadata.at("noise.type"), options.noise_draws, options.output.string());
  return summary;
}

}  // namespace noisysgd
