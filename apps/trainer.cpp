#include <noisysgd/apps/trainer.h>

#include <fmt/ranges.h>

#include <cmath>
#include <deque>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/environment.h>
#include <noisysgd/apps/evaluate.h>
#include <noisysgd/apps/initial_values.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/training_log.h>
#include <noisysgd/apps/training_state.h>
#include <noisysgd/apps/version.h>
#include <noisysgd/core/file.h>
#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/memory.h>
#include <noisysgd/optim/step.h>

namespace noisysgd {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Run {
 public:
  Run(Context& context, const TrainingData& data, const RunRequest& request)
      : context_(context),
        request_(request),
        regime_(request.regime),
        model_(make_model(context, regime_, data, request.extensions)),
        train_(context, data.sets.train, data.normalisation, regime_.data.augment),
        test_(context, data.sets.test, data.normalisation),
        data_(DataDescription::of(data.sets.train, data.normalisation).json()),
        environment_(describe_environment(context.queue)),
        average_(regime_.weight_average ? std::optional<WeightAverage>(std::in_place, context, model_,
                                                                       static_cast<float>(*regime_.weight_average))
                                        : std::nullopt),
        noise_(regime_.build_noise(request.extensions)),
        optimizer_(regime_.build_optimizer(request.extensions)),
        step_(context, model_, noise_, *optimizer_, average(), step_options(regime_, request.seed)),
        source_([this](const StepNumbers& numbers, int64_t begin, int64_t count) {
          return train_.shuffled({numbers.epoch, numbers.first_sample, begin}, count, request_.seed);
        }),
        sums_read_(context.queue, sizeof(kernels::TrainingSums)),
        schedule_(regime_.batch_schedule(train_.count(), model_.coupling())),
        total_steps_(schedule_.total_steps()),
        noisy_steps_(regime_.noisy_steps(schedule_)),
        evaluated_set_(regime_.data.evaluated_set()),
        log_(request.folder, request.progress,
             regime_.name.empty() ? fmt::format("seed {}", request.seed)
                                  : fmt::format("{} seed {}", regime_.name, request.seed)) {
    if (noisy_steps_ > 0) step_.begin_noise();
    for (const auto& measurement : step_.measurements())
      for (const Tensor& result : measurement->results())
        results_read_.emplace_back(context.queue, result.bytes().size());
    context_.queue.set_precision(regime_.precision);
    context_.allocator.reset_peak();
    open_folder();
  }

  RunOutcome run() {
    const Interrupts::Hold hold(request_.interrupts);
    started_ = Clock::now();
    seconds_before_ = state_.seconds;
    first_step_ = state_.step;
    window_started_ = started_;
    for (const std::string& line : run_notes(regime_, schedule_))
      log_.line(fmt::format("{}: {}", request_.folder.string(), line));
    while (state_.step < total_steps_) {
      train_step();
      const BatchPosition next = schedule_.position(state_.step);
      const bool epoch_ends = next.first_of_epoch();
      const int64_t epochs_done = next.epoch;
      const bool best = epoch_ends && end_epoch(epochs_done - 1) && regime_.checkpoint_best;
      const int64_t keep_every = regime_.checkpoint_keep_every_epochs.value_or(total_steps_ + 1);
      const bool kept = epoch_ends && epochs_done % keep_every == 0;
      const bool due =
          epoch_ends && (epochs_done % regime_.checkpoint_every_epochs == 0 || state_.step == total_steps_);
      const bool interrupted = request_.interrupts && request_.interrupts->received() != 0;
      // The run goes on from the last one only: what it keeps is there before.
      if (best) save(request_.folder / best_checkpoint_file);
      if (kept) save(kept_checkpoint(request_.folder, epochs_done));
      if (due || kept || best || interrupted) save(checkpoint_path());
      if (interrupted) {
        log_.line(fmt::format("{}: stopped after step {} of {}; --resume continues", request_.folder.string(),
                                   state_.step, total_steps_));
        return RunOutcome::interrupted;
      }
    }
    write_summary();
    measure_speed();
    return RunOutcome::finished;
  }

 private:
  WeightAverage* average() { return average_ ? &*average_ : nullptr; }
  std::filesystem::path checkpoint_path() const { return request_.folder / checkpoint_file; }

  void open_folder() {
    if (std::filesystem::exists(checkpoint_path())) {
      try {
        resume();
      } catch (const Error& error) {
        throw UnusableRun(
            fmt::format("{}; remove {} to start the run again", error.what(), checkpoint_path().string()));
      }
    } else {
      begin();
    }
    std::filesystem::remove(request_.folder / divergence_file);
  }

  void begin() {
    const WeightsNote note = set_initial_values(model_, regime_, request_.seed);
    if (average_) average_->restart();
    log_.begin();
    if (!note.empty()) log_.line(fmt::format("{}: {}", request_.folder.string(), note));
  }

  void resume() {
    const Checkpoint checkpoint(checkpoint_path());
    const std::optional<Json> identity = checkpoint.identity();
    const Json state = checkpoint.state();
    try {
      if (identity) check_same_run(*identity);
      state_ = TrainingState::from(state, limits());
    } catch (const Error& error) {
      throw Error(fmt::format("{}: {}", checkpoint_path().string(), error.what()));
    }
    checkpoint.load(context_, step_);
    kernels::TrainingSums sums;
    sums.epoch = state_.epoch.sums();
    sums.window = state_.window.sums();
    step_.training_sums().write(sums);
    log_.resume(state_);
  }

  void check_same_run(const Json& identity) const {
    const auto differences = identity_differences(identity, regime_, request_.seed, request_.extensions);
    NSGD_CHECK(differences.empty(), "belongs to another run ({})", fmt::format("{}", fmt::join(differences, "; ")));
  }

  StateLimits limits() const {
    const auto samples_between = [this](int64_t begin, int64_t end) {
      int64_t samples = 0;
      for (int64_t step = begin; step < end; ++step) samples += schedule_.position(step).samples;
      return samples;
    };
    return {total_steps_, [this, samples_between](int64_t step) {
              const BatchPosition at = schedule_.position(step);
              const int64_t epoch = step - at.step_of_epoch;
              const int64_t before = epoch == 0 ? 0 : epoch - 1 - schedule_.position(epoch - 1).step_of_epoch;
              return Counts{at.epoch, samples_between(epoch, step),
                            samples_between(step / regime_.log_every_steps * regime_.log_every_steps, step),
                            samples_between(before, epoch)};
            }};
  }

  double learning_rate_of(int64_t step) const { return noisysgd::learning_rate_of(regime_, schedule_, step); }

  StepRequest request_of(int64_t step) const {
    const BatchPosition at = schedule_.position(step);
    return {.values = {static_cast<uint32_t>(step), static_cast<uint32_t>(at.epoch), at.first_sample(),
                       static_cast<float>(learning_rate_of(step))},
            .samples = at.samples,
            .noise = step < noisy_steps_ && regime_.noise.takes_part(at.samples, regime_.fisher),
            .logged = regime_.logs(step)};
  }

  void train_step() {
    const StepRequest plan = request_of(state_.step);
    step_.run(plan, source_);
    if (step_.chosen_micro_batch() != reported_micro_batch_) report_micro_batch(plan);
    ++state_.step;
    if (context_.queue.device().backend == Backend::cpu) take(step_.training_sums().read());  // needs no wait
    if (plan.logged) begin_log(plan);
    if (logged_ && sums_read_.ready()) finish_log();
    log_.progress([&] { return progress_state(plan.values.epoch); });
  }

  void report_micro_batch(const StepRequest& plan) {
    reported_micro_batch_ = step_.chosen_micro_batch();
    log_.line(fmt::format("a batch of {} does not fit into the memory of {}: micro-batches of {}", plan.samples,
                               context_.queue.device().name(), *reported_micro_batch_));
  }

  // Takes over the device's counters. Throws Error if a loss was not finite; no parameter has changed since that step.
  void take(const kernels::TrainingSums& sums) {
    if (sums.halted) stop_at_nonfinite_loss(sums);
    state_.epoch = Meter::from(sums.epoch);
    state_.window = Meter::from(sums.window);
  }

  [[noreturn]] void stop_at_nonfinite_loss(const kernels::TrainingSums& sums) {
    check(sums.halted_sums);
    const int64_t step = sums.halted_step, epoch = schedule_.position(step).epoch + 1;
    const std::string layer = step_.first_nonfinite_layer(request_of(step), source_, sums.halted_sums);
    diverge(step + 1, epoch, layer,
            fmt::format("the loss is not finite at step {} (epoch {}), first in {}", step + 1, epoch,
                        layer.empty() ? "the loss itself" : fmt::format("layer '{}'", layer)));
  }

  // For a value that is evaluated or saved after a step.
  [[noreturn]] void stop_after_step(const std::string& what) {
    const int64_t epoch = schedule_.position(state_.step - 1).epoch + 1;
    diverge(state_.step, epoch, "", fmt::format("{} is not finite after step {} (epoch {})", what, state_.step, epoch));
  }

  [[noreturn]] void diverge(int64_t step, int64_t epoch, const std::string& layer, const std::string& reason) {
    const Json record{{"regime", regime_.name}, {"seed", request_.seed}, {"step", step},           {"epoch", epoch},
                      {"layer", layer},         {"reason", reason},      {"version", version()},
                      {"environment", environment_}};
    write_file_atomically(request_.folder / divergence_file, record.dump(2) + "\n");
    throw Divergence(
        fmt::format("{}: {}; a smaller learning rate or a longer warm-up may help", request_.folder.string(), reason));
  }

  // Issues the copies for a log line after its step. They are read when they have arrived or are needed, and the device
  // continues meanwhile.
  void begin_log(const StepRequest& plan) {
    finish_log();
    sums_read_.issue(step_.training_sums().place());
    auto read = results_read_.begin();
    for (const auto& measurement : step_.measurements())
      for (const Tensor& result : measurement->results()) (read++)->issue(result.bytes().data());
    kernels::restart_sums(context_.queue, true, false, step_.training_sums().place());
    logged_ = plan;
  }

  void finish_log() {
    if (!logged_) return;
    const StepRequest plan = *logged_;
    logged_.reset();
    const auto& sums = *static_cast<const kernels::TrainingSums*>(sums_read_.wait());
    take(sums);
    log_.write(record_of(plan, sums.norms));
    state_.window = {};
    window_started_ = Clock::now();
  }

  StepRecord record_of(const StepRequest& plan, const kernels::StepNorms& norms) {
    StepRecord record{.step = int64_t{plan.values.step} + 1,
                      .epoch = int64_t{plan.values.epoch} + 1,
                      .window = state_.window,
                      .learning_rate = learning_rate_of(plan.values.step),
                      .gradient_norm = std::sqrt(norms.gradient_squared),
                      .samples_per_second = static_cast<double>(state_.window.samples) /
                                            std::max(1e-9, seconds_since(window_started_))};
    if (!step_.recipe(plan).noise.weighs_losses) record.noise_norm = std::sqrt(norms.noise_squared);
    auto read = results_read_.begin();
    for (const auto& measurement : step_.measurements()) {
      std::vector<const void*> copies;
      for (size_t i = 0; i < measurement->results().size(); ++i) copies.push_back((read++)->wait());
      measurement->write(copies, plan.samples, record.measured);
    }
    return record;
  }

  Meter evaluate_network() {
    std::optional<WeightAverage::Use> averaged;
    if (average_) averaged.emplace(*average_);
    const kernels::LossSums test = evaluate(model_, test_, regime_.evaluation_batch);
    if (test.nonfinite) stop_after_step(fmt::format("the {} loss", evaluated_set_));
    return Meter::from(test);
  }

  // Waits for the device.
  void catch_up() {
    finish_log();
    take(step_.training_sums().read());
  }

  // Returns true if the evaluation is the best so far.
  bool end_epoch(int64_t epoch) {
    catch_up();
    const Meter test = evaluate_network();
    state_.test_loss = test.mean_loss();
    state_.test_accuracy = test.accuracy();
    const bool best = epoch == 0 || test.accuracy() > state_.best_accuracy;
    if (best) {
      state_.best_accuracy = test.accuracy();
      state_.best_epoch = epoch + 1;
    }
    log_.write({state_.step, epoch + 1, evaluated_set_, test, state_.epoch}, progress_state(epoch));
    state_.last_epoch = state_.epoch;
    state_.epoch = {};
    kernels::restart_sums(context_.queue, false, true, step_.training_sums().place());
    return best;
  }

  void measure_speed() const {
    const int64_t images = train_.count() * regime_.epochs, steps = state_.step - first_step_;
    if (!request_.work || steps == 0) return;
    const double samples = static_cast<double>(images) * static_cast<double>(steps) / static_cast<double>(total_steps_);
    request_.work->measure(regime_.name, seconds_since(started_) / samples);
  }

  ProgressState progress_state(int64_t epoch) const {
    const double seconds = seconds_since(started_);
    const int64_t done = state_.step - first_step_;
    const double per_step = done > 0 ? seconds / static_cast<double>(done) : 0;
    const int64_t samples = schedule_.position(state_.step - 1).samples;
    const double per_sample = per_step / static_cast<double>(samples);
    return {epoch,
            regime_.epochs,
            state_.step,
            total_steps_,
            state_.epoch.mean_loss(),
            state_.epoch.accuracy(),
            per_step > 0 ? static_cast<double>(samples) / per_step : 0,
            per_step * static_cast<double>(total_steps_ - state_.step),
            request_.work ? request_.work->seconds(regime_.name, per_sample) : 0};
  }

  void save(const std::filesystem::path& path) {
    catch_up();
    state_.seconds = seconds_before_ + seconds_since(started_);
    log_.save(state_);
    const Json state = state_.json();
    TrainingState::from(state, limits());  // throws if the written state could not be read
    try {
      save_checkpoint(path, context_, step_, {run_identity(regime_, request_.seed), data_, state, environment_});
    } catch (const NonfiniteTensor& error) {
      stop_after_step(error.what());
    }
  }

  void write_summary() {
    const Json summary{{"regime", regime_.name},
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
                 {"micro_batch", step_.chosen_micro_batch() ? Json(*step_.chosen_micro_batch()) : Json()},
                 {"steps_replayed", step_.counts().replayed},
                 {"threads", context_.queue.threads()},
                 {"version", version()},
                 {"environment", environment_}};
    write_file_atomically(request_.folder / summary_file, summary.dump(2) + "\n");
  }

  Context& context_;
  const RunRequest& request_;
  const Regime& regime_;
  Model model_;
  Loader train_, test_;
  const Json data_, environment_;  // descriptions, for checkpoints and records
  std::optional<WeightAverage> average_;
  Noise noise_;
  std::unique_ptr<Optimizer> optimizer_;
  Step step_;
  const BatchSource source_;
  kernels::PendingRead sums_read_;
  std::deque<kernels::PendingRead> results_read_;  // of the measurements, in order
  std::optional<int64_t> reported_micro_batch_;
  std::optional<StepRequest> logged_;  // the step whose log line is being read
  const BatchSchedule schedule_;
  const int64_t total_steps_, noisy_steps_;
  const std::string evaluated_set_;  // "test" or "holdout"
  TrainingLog log_;
  TrainingState state_;
  double seconds_before_ = 0;
  int64_t first_step_ = 0;  // of this process
  Clock::time_point started_, window_started_;
};

}  // namespace

RunOutcome train(Context& context, const TrainingData& data, const RunRequest& request) {
  const PathLock lock = claim_run(request.folder, request.regime, request.seed, request.extensions);
  if (is_finished(request.folder)) return RunOutcome::finished;
  return Run(context, data, request).run();
}

}  // namespace noisysgd
