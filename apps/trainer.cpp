#include "apps/trainer.h"

#include <fmt/ranges.h>

#include <cmath>

#include "apps/checkpoint.h"
#include "apps/interrupt.h"
#include "core/file.h"
#include "core/metrics_log.h"
#include "core/tensorboard.h"
#include "kernels/cuda/device.h"
#include "optim/group_statistics.h"

namespace noisysgd {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr const char *config_file = "config.json", *summary_file = "summary.json", *divergence_file = "diverged.json";

// What makes a run the run that it is.
Json identity(const Regime& regime, uint64_t seed) {
  return {{"regime", regime.name}, {"seed", seed}, {"config", regime.effective}};
}

// A configuration from a file as this version of the program would have written it: keys that are newer than the file
// take their defaults. One that can no longer be read stays as it is.
Json with_newer_keys(const Json& config, const Extensions& extensions) {
  try {
    return read_experiment(config, "stored", extensions).regimes.at(0).effective;
  } catch (const Error&) {
    return config;
  }
}

std::optional<Json> read_if_there(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  return parse_json(read_file(path), path.string());
}

// Sums of a metric over some steps.
struct Meter {
  double loss = 0;
  int64_t correct = 0, samples = 0;

  void add(const kernels::LossSums& sums, int64_t count) {
    loss += sums.loss;
    correct += sums.correct;
    samples += count;
  }
  double mean_loss() const { return samples ? loss / static_cast<double>(samples) : 0; }
  double accuracy() const { return samples ? static_cast<double>(correct) / static_cast<double>(samples) : 0; }
  Json json() const { return {{"loss", loss}, {"correct", correct}, {"samples", samples}}; }
  static Meter from(const Json& json) { return {json.at("loss"), json.at("correct"), json.at("samples")}; }
};

// All that a checkpoint must say beside the tensors.
struct TrainingState {
  int64_t step = 0;     // steps done
  Meter epoch, window;  // since the start of the epoch, since the last log line
  Meter last_epoch;     // the latest whole epoch
  double test_loss = 0, test_accuracy = 0, best_accuracy = 0;
  int64_t best_epoch = 0;
  double seconds = 0;  // spent so far, over all sittings
  uint64_t metrics_bytes = 0;
  std::string events_file;
  uint64_t events_bytes = 0;

  Json json() const {
    return {{"step", step},
            {"epoch_sums", epoch.json()},
            {"window_sums", window.json()},
            {"last_epoch_sums", last_epoch.json()},
            {"test_loss", test_loss},
            {"test_accuracy", test_accuracy},
            {"best_accuracy", best_accuracy},
            {"best_epoch", best_epoch},
            {"seconds", seconds},
            {"metrics_bytes", metrics_bytes},
            {"events_file", events_file},
            {"events_bytes", events_bytes}};
  }
  static TrainingState from(const Json& json) {
    TrainingState state;
    state.step = json.at("step");
    state.epoch = Meter::from(json.at("epoch_sums"));
    state.window = Meter::from(json.at("window_sums"));
    state.last_epoch = Meter::from(json.at("last_epoch_sums"));
    state.test_loss = json.at("test_loss");
    state.test_accuracy = json.at("test_accuracy");
    state.best_accuracy = json.at("best_accuracy");
    state.best_epoch = json.at("best_epoch");
    state.seconds = json.at("seconds");
    state.metrics_bytes = json.at("metrics_bytes");
    state.events_file = json.at("events_file");
    state.events_bytes = json.at("events_bytes");
    return state;
  }
};

class Run {
 public:
  Run(Context& context, const TrainingData& data, const RunRequest& request)
      : context_(context),
        request_(request),
        regime_(request.regime),
        model_(make_model(context, regime_, data, request.extensions)),
        train_(context, data.sets.train, data.normalisation, regime_.data.augment),
        test_(context, data.sets.test, data.normalisation),
        sgd_(context, regime_.sgd, regime_.fisher, regime_.noise),
        schedule_(regime_.batch_schedule(train_.count(), model_.network().least_batch())),
        total_steps_(schedule_.total_steps()),
        noisy_steps_(regime_.noisy_steps(schedule_)),
        evaluated_set_(regime_.data.evaluated_set()),
        progress_(request.progress, regime_.name.empty() ? fmt::format("seed {}", request.seed)
                                                         : fmt::format("{} seed {}", regime_.name, request.seed)) {
    if (noisy_steps_ > 0) sgd_.require_sums(model_.arena());
    if (regime_.log_layers) model_.arena().require_second_moment();
    if (regime_.weight_average) average_.emplace(context_, model_, static_cast<float>(*regime_.weight_average));
    context_.queue.set_precision(regime_.precision);
    context_.allocator.reset_peak();
    open_folder();
  }

  RunOutcome run() {
    const InterruptGuard guard;
    started_ = Clock::now();
    seconds_before_ = state_.seconds;
    first_step_ = state_.step;
    window_started_ = started_;
    while (state_.step < total_steps_) {
      train_step();
      const BatchPosition next = schedule_.position(state_.step);
      const bool epoch_ends = next.first_of_epoch();
      const int64_t epochs_done = next.epoch;
      if (epoch_ends) end_epoch(epochs_done - 1);
      const bool due =
          epoch_ends && (epochs_done % regime_.checkpoint_every_epochs == 0 || state_.step == total_steps_);
      if (due || interrupt_signal()) save();
      if (interrupt_signal()) {
        progress_.line(fmt::format("{}: stopped after step {} of {}; --resume continues", request_.folder.string(),
                                   state_.step, total_steps_));
        return RunOutcome::interrupted;
      }
    }
    write_summary();
    return RunOutcome::finished;
  }

 private:
  WeightAverage* average() { return average_ ? &*average_ : nullptr; }
  std::filesystem::path checkpoint_path() const { return request_.folder / "checkpoint.safetensors"; }

  void open_folder() {
    std::error_code error;
    std::filesystem::create_directories(request_.folder, error);
    NSGD_CHECK(!error, "{}: cannot be made: {}", request_.folder.string(), error.message());
    if (std::filesystem::exists(checkpoint_path())) {
      check_identity(request_);
      state_ = TrainingState::from(load_checkpoint(checkpoint_path(), model_, average()));
    } else {
      model_.arena().initialise(request_.seed);
      if (average_) average_->restart();
      write_file_atomically(request_.folder / config_file, identity(regime_, request_.seed).dump(2) + "\n");
    }
    std::filesystem::remove(request_.folder / divergence_file);
    metrics_.emplace(request_.folder / "metrics.jsonl", state_.metrics_bytes);
    if (state_.events_file.empty()) {
      remove_stale_events();
      state_.events_file = new_events_path(request_.folder).filename().string();
    }
    events_.emplace(request_.folder / state_.events_file, state_.events_bytes);
  }

  // Of a run that was killed before its first checkpoint.
  void remove_stale_events() const {
    for (const auto& entry : std::filesystem::directory_iterator(request_.folder))
      if (entry.path().filename().string().starts_with("events.out.tfevents.")) std::filesystem::remove(entry.path());
  }

  void train_step() {
    const BatchPosition at = schedule_.position(state_.step);
    const int64_t epoch = at.epoch, begin = at.first_sample();
    const int64_t samples = model_.usable_samples(std::min(at.phase->size, train_.count() - begin));
    const bool noise = state_.step < noisy_steps_;
    const auto step = static_cast<uint32_t>(state_.step);

    model_.arena().zero_sums();
    AccumulateOptions options;
    options.seed = request_.seed;
    options.step = step;
    options.fisher_labels = regime_.fisher.labels;
    const bool log = (state_.step + 1) % regime_.log_every_steps == 0, log_layers = log && regime_.log_layers;
    const NoiseBatch noise_batch{samples, model_.network().ghost_size(), request_.seed, step};
    NoisePasses passes = noise ? sgd_.passes(noise_batch, log_layers) : NoisePasses{};
    if (log_layers) regime_.fisher.collect(passes.statistics);
    std::optional<GroupStatistics> groups;
    if (log_layers && regime_.log_groups)
      groups.emplace(context_, model_, regime_.fisher, samples, *regime_.log_groups);
    kernels::LossSums sums;
    const int64_t micro = regime_.batch.micro.value_or(samples);
    for (int64_t offset = 0, end = 0; offset < samples; offset = end) {
      end = std::min(samples, offset + micro);
      if (groups) end = groups->end_of_piece(offset, end);
      Batch batch = train_.shuffled(begin + offset, begin + end, request_.seed, static_cast<uint32_t>(epoch));
      passes.apply(offset, batch, options);
      if (groups) groups->begin_piece(offset, options);
      const kernels::LossSums part = model_.accumulate(batch, options);
      if (groups) groups->end_piece(end);
      sums.loss += part.loss;
      sums.correct += part.correct;
      if (!std::isfinite(part.loss)) stop_at_nonfinite_loss(batch);
    }

    learning_rate_ = at.phase->learning_rate * schedule_factor(regime_.schedule, at.equivalent_step(),
                                                               at.steps_per_epoch, static_cast<double>(regime_.epochs));
    kernels::SgdNorms norms;
    sgd_.step(model_.parameters(), {learning_rate_, samples, request_.seed, step, noise, passes.in_gradient()},
              log ? &norms : nullptr);
    if (average_) average_->update();

    ++state_.step;
    state_.epoch.add(sums, samples);
    state_.window.add(sums, samples);
    if (log) log_step(epoch, samples, norms, passes.in_gradient(), groups);
    progress_.step(progress_state(epoch));
  }

  [[noreturn]] void stop_at_nonfinite_loss(const Batch& batch) {
    const std::string layer = model_.first_nonfinite_layer(batch, request_.seed, static_cast<uint32_t>(state_.step));
    const int64_t step = state_.step + 1, epoch = schedule_.position(state_.step).epoch + 1;
    const Json record{{"regime", regime_.name}, {"seed", request_.seed}, {"step", step},
                      {"epoch", epoch},         {"layer", layer},        {"version", NSGD_VERSION}};
    write_file_atomically(request_.folder / divergence_file, record.dump(2) + "\n");
    throw Divergence(fmt::format(
        "{}: the loss is not finite at step {} (epoch {}), first in {}; a smaller learning rate or a "
        "longer warm-up may help",
        request_.folder.string(), step, epoch, layer.empty() ? "the loss itself" : fmt::format("layer '{}'", layer)));
  }

  // noise_in_gradient: the gradient's norm is that of both together, and the noise's own is not known.
  void log_step(int64_t epoch, int64_t samples, const kernels::SgdNorms& norms, bool noise_in_gradient,
                const std::optional<GroupStatistics>& groups) {
    const double rate = static_cast<double>(state_.window.samples) / std::max(1e-9, seconds_since(window_started_));
    const double gradient_norm = std::sqrt(norms.gradient_squared), noise_norm = std::sqrt(norms.noise_squared);
    Json record{{"step", state_.step},
                {"epoch", epoch + 1},
                {"split", "train"},
                {"loss", state_.window.mean_loss()},
                {"accuracy", state_.window.accuracy()},
                {"learning_rate", learning_rate_},
                {"gradient_norm", gradient_norm},
                {"noise_norm", noise_in_gradient ? Json() : Json(noise_norm)},
                {"samples_per_second", rate}};
    if (regime_.log_layers) record["layers"] = log_layers(samples, groups);
    metrics_->write(record);
    std::vector<Scalar> scalars{{"train/loss", state_.window.mean_loss()},
                                {"train/accuracy", state_.window.accuracy()},
                                {"train/learning_rate", learning_rate_},
                                {"train/gradient_norm", gradient_norm}};
    if (!noise_in_gradient) scalars.push_back({"train/noise_norm", noise_norm});
    events_->write(state_.step, scalars);
    state_.window = {};
    window_started_ = Clock::now();
  }

  Json log_layers(int64_t samples, const std::optional<GroupStatistics>& groups) {
    std::vector<LayerFisher> layers =
        layer_fisher(context_, regime_.fisher.of_one_batch(), model_.parameters(), samples);
    if (groups) groups->measure(layers);
    const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
    Json record;
    for (const LayerFisher& layer : layers) {
      Json& entry = record[layer.layer];
      entry = {{"fisher_trace", layer.trace}, {"fisher_diagonal_norm", layer.diagonal_norm}};
      if (!groups) continue;
      entry["variance_ratio"] = or_null(layer.variance_ratio);
      entry["effective_rank"] = or_null(layer.effective_rank);
    }
    return record;
  }

  Meter evaluate() {
    std::optional<WeightAverage::Use> averaged;
    if (average_) averaged.emplace(*average_);
    Meter test;
    for (int64_t begin = 0; begin < test_.count(); begin += regime_.evaluation_batch) {
      const int64_t end = std::min(test_.count(), begin + regime_.evaluation_batch);
      test.add(model_.evaluate(test_.ordered(begin, end)), end - begin);
    }
    return test;
  }

  void end_epoch(int64_t epoch) {
    const Meter test = evaluate();
    state_.test_loss = test.mean_loss();
    state_.test_accuracy = test.accuracy();
    if (test.accuracy() > state_.best_accuracy) {
      state_.best_accuracy = test.accuracy();
      state_.best_epoch = epoch + 1;
    }
    metrics_->write({{"step", state_.step},
                     {"epoch", epoch + 1},
                     {"split", evaluated_set_},
                     {"loss", test.mean_loss()},
                     {"accuracy", test.accuracy()},
                     {"train_loss", state_.epoch.mean_loss()},
                     {"train_accuracy", state_.epoch.accuracy()}});
    events_->write(state_.step, std::vector<Scalar>{{evaluated_set_ + "/loss", test.mean_loss()},
                                                    {evaluated_set_ + "/accuracy", test.accuracy()}});
    progress_.epoch(progress_state(epoch), evaluated_set_, test.mean_loss(), test.accuracy());
    state_.last_epoch = state_.epoch;
    state_.epoch = {};
  }

  ProgressState progress_state(int64_t epoch) const {
    const double seconds = seconds_since(started_);
    const int64_t done = state_.step - first_step_;
    const double per_step = done > 0 ? seconds / static_cast<double>(done) : 0;
    const int64_t samples = std::min(train_.count(), schedule_.position(state_.step - 1).phase->size);
    return {epoch,
            regime_.epochs,
            state_.step,
            total_steps_,
            state_.epoch.mean_loss(),
            state_.epoch.accuracy(),
            per_step > 0 ? static_cast<double>(samples) / per_step : 0,
            per_step * static_cast<double>(total_steps_ - state_.step)};
  }

  void save() {
    state_.seconds = seconds_before_ + seconds_since(started_);
    metrics_->sync();
    events_->sync();
    state_.metrics_bytes = metrics_->size();
    state_.events_bytes = events_->size();
    save_checkpoint(checkpoint_path(), model_, average(), state_.json());
  }

  void write_summary() {
    Json summary{{"regime", regime_.name},
                 {"seed", request_.seed},
                 {"epochs", regime_.epochs},
                 {"steps", total_steps_},
                 {"training_images", train_.count()},
                 {evaluated_set_ + "_images", test_.count()},
                 {evaluated_set_ + "_accuracy", state_.test_accuracy},
                 {evaluated_set_ + "_loss", state_.test_loss},
                 {"best_" + evaluated_set_ + "_accuracy", state_.best_accuracy},
                 {"best_epoch", state_.best_epoch},
                 {"train_loss", state_.last_epoch.mean_loss()},
                 {"train_accuracy", state_.last_epoch.accuracy()},
                 {"seconds", state_.seconds},
                 {"peak_memory_bytes", context_.allocator.use().peak + context_.queue.workspace_bytes()},
                 {"device", context_.queue.device().name()},
                 {"precision", name_of(context_.queue.precision())},
                 {"threads", context_.queue.threads()},
                 {"version", NSGD_VERSION}};
    if (context_.queue.device().backend == Backend::cuda)
      summary["convolutions"] = kernels::cuda::convolutions(context_.queue.cuda());
    write_file_atomically(request_.folder / summary_file, summary.dump(2) + "\n");
  }

  Context& context_;
  const RunRequest& request_;
  const Regime& regime_;
  Model model_;
  Loader train_, test_;
  Sgd sgd_;
  std::optional<WeightAverage> average_;
  const BatchSchedule schedule_;
  const int64_t total_steps_, noisy_steps_;
  const std::string evaluated_set_;  // "test" or "holdout"
  Progress progress_;
  TrainingState state_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardLog> events_;
  double learning_rate_ = 0, seconds_before_ = 0;
  int64_t first_step_ = 0;  // of this sitting
  Clock::time_point started_, window_started_;
};

}  // namespace

Model make_model(Context& context, const Regime& regime, const TrainingData& data, const Extensions& extensions) {
  auto network = regime.build_network(extensions, data.image_shape(), data.sets.train.classes);
  const int64_t ghost = network->ghost_size();
  if (regime.batch.micro && network->couples_samples())
    NSGD_CHECK(ghost > 0 && *regime.batch.micro % ghost == 0,
               "batch.micro: batch_norm sees micro-batches of {}, which {}; set batch.ghost_size to a divisor of it",
               *regime.batch.micro,
               ghost > 0 ? fmt::format("are no multiple of the ghost size {}", ghost)
                         : "would change what it normalises over");
  Model model(context, std::move(network), data.sets.train.classes, regime.label_smoothing);
  if (regime.noise.active()) regime.noise.check_globs(model.parameters());
  check_network(regime.fisher, model.graph());
  return model;
}

RunOutcome train(Context& context, const TrainingData& data, const RunRequest& request) {
  return Run(context, data, request).run();
}

void check_identity(const RunRequest& request) {
  const std::filesystem::path path = request.folder / config_file;
  const Json stored = parse_json(read_file(path), path.string());
  std::vector<std::string> differences =
      config_differences(with_newer_keys(stored.at("config"), request.extensions), request.regime.effective);
  for (const char* key : {"regime", "seed"})
    if (const Json here = identity(request.regime, request.seed).at(key); stored.at(key) != here)
      differences.push_back(fmt::format("{}: {} there, {} here", key, stored.at(key).dump(), here.dump()));
  NSGD_CHECK(differences.empty(), "{}: was written by another configuration ({}); use another --output", path.string(),
             fmt::join(differences, "; "));
}

std::optional<Json> run_summary(const std::filesystem::path& folder) { return read_if_there(folder / summary_file); }
std::optional<Json> run_divergence(const std::filesystem::path& folder) {
  return read_if_there(folder / divergence_file);
}
bool is_finished(const std::filesystem::path& folder) { return std::filesystem::exists(folder / summary_file); }

}  // namespace noisysgd
