#include <noisysgd/apps/make_model.h>

#include <fmt/format.h>

#include <set>

namespace noisysgd {

namespace {

// Whether the steps that are logged collect diag(F).
bool logs_fisher(const Regime& regime) {
  Statistics statistics;
  for (const auto& measurement : regime.build_measurements()) measurement->collect(regime.fisher, statistics);
  return statistics.second_moment != SecondMoment::none;
}

// The batch sizes of a run that matter to its noise and its log.
struct BatchSizes {
  BatchSizes(const Regime& regime, const BatchSchedule& schedule) {
    const int64_t noisy_steps = regime.noisy_steps(schedule), total_steps = schedule.total_steps();
    const bool log_measures = logs_fisher(regime);
    for (int64_t step = 0; step < (log_measures ? total_steps : noisy_steps); ++step) {
      const int64_t samples = schedule.position(step).samples;
      if (step < noisy_steps) {
        largest_noisy = std::max(largest_noisy, samples);
        acted_on |= regime.noise.acts_on(samples);
        const bool takes_part = regime.noise.takes_part(samples, regime.fisher);
        if (takes_part) noisy.insert(samples);
        if (takes_part && regime.noise.needs_second_moment() && regime.fisher.refreshes(step))
          measured.insert(samples);
      }
      if (log_measures && regime.logs(step)) measured.insert(samples);
    }
  }

  std::set<int64_t> noisy, measured;  // of steps that take part in the noise, of steps that collect diag(F)
  int64_t largest_noisy = 0;          // largest batch while noise is drawn
  bool acted_on = false;              // at least one of these batches gets noise
};

// Throws Error if the noise would be zero in every step, or if the noise or the log cannot handle a batch size of the
// run. That would otherwise end the run later.
void check_steps(Context& context, const Regime& regime, const BatchSchedule& schedule, Model& model,
                 const Extensions& extensions) {
  const BatchSizes sizes(regime, schedule);
  const std::optional<int64_t> match = regime.noise.options().match_trace;
  NSGD_CHECK(sizes.largest_noisy == 0 || sizes.acted_on,
             "noise.{}: must be below the batch's {} images: otherwise there is no noise to add",
             match && *match >= sizes.largest_noisy ? "match_trace" : "small_batch", sizes.largest_noisy);
  Noise noise = regime.build_noise(extensions);
  const auto optimizer = regime.build_optimizer(extensions);
  Step step(context, model, noise, *optimizer, nullptr, step_options(regime, 1));
  if (sizes.largest_noisy > 0) step.begin_noise();
  for (const int64_t samples : sizes.noisy) {
    step.recipe({.samples = samples, .noise = true});
    noise.check_trace(context, regime.fisher, {samples, model.coupling().ghost_size()}, step.sums());
  }
  const bool ghosts = regime.fisher.batch_norm == GhostFisher::ghost_variance;
  NSGD_CHECK(sizes.measured.empty() || !ghosts || model.coupling().allows_parts_of(regime.fisher.ghost_size),
             "fisher.batch_norm: \"ghost_variance\" needs independent ghost batches of {}, batch.ghost_size; a "
             "batch_norm of this network couples more samples",
             regime.fisher.ghost_size);
  for (const int64_t samples : sizes.measured)
    for (const Parameter* parameter : model.parameter_set().trained())
      fisher_diagonal_coefficients(regime.fisher, *parameter, samples);
}

Model build(Context& context, const Regime& regime, const TrainingData& data, const Extensions& extensions) {
  auto network = regime.build_network(extensions, data.image_shape(), data.sets.train.classes);
  const SampleCoupling coupling = network->coupling();
  if (regime.batch.micro)
    NSGD_CHECK(coupling.allows_parts_of(*regime.batch.micro),
               "batch.micro: batch_norm sees micro-batches of {}, which {}; set batch.ghost_size to a divisor of it",
               *regime.batch.micro,
               coupling.of_whole_batch() ? "would change what it normalises over"
                                         : fmt::format("are no multiple of the ghost size {}", coupling.ghost_size()));
  Model model(context, std::move(network), data.sets.train.classes, regime.loss);
  model.freeze(regime.model_start().freeze);
  if (regime.noise.active()) regime.noise.check_globs(model.parameters());
  check_network(regime.fisher, model.graph());
  apply_initialisation_rules(regime.initialisation, model.parameters());
  return model;
}

}  // namespace

std::vector<std::string> run_notes(const Regime& regime, const BatchSchedule& schedule) {
  std::vector<std::string> notes = schedule.left_out();
  if (regime.noise.epochs_with_noise(regime.epochs) > 0 && regime.noisy_steps(schedule) == 0)
    notes.push_back(fmt::format("noise.stop_fraction: {} of {} step{} rounds to 0, so no noise is drawn",
                                regime.noise.options().stop_fraction, schedule.total_steps(),
                                schedule.total_steps() == 1 ? "" : "s"));
  return notes;
}

StepOptions step_options(const Regime& regime, uint64_t seed) {
  return {.fisher = regime.fisher,
          .clip_norm = regime.clip_norm,
          .micro = regime.batch.micro,
          .granularity = regime.batch.ghost_size.value_or(1),
          .measurements = regime.build_measurements(),
          .seed = seed,
          .graphs = graphs_wanted()};
}

double learning_rate_of(const Regime& regime, const BatchSchedule& schedule, int64_t step) {
  const BatchPosition at = schedule.position(step);
  return at.phase->learning_rate *
         regime.schedule.factor(at.equivalent_step(), at.steps_per_epoch, static_cast<double>(regime.epochs));
}

Model make_model(Context& context, const Regime& regime, const TrainingData& data, const Extensions& extensions) {
  return at_place(regime, [&] { return build(context, regime, data, extensions); });
}

Model make_checked_model(Context& context, const Regime& regime, const TrainingData& data,
                         const Extensions& extensions) {
  return at_place(regime, [&] {
    Model model = build(context, regime, data, extensions);
    const BatchSchedule schedule = regime.batch_schedule(data.sets.train.count, model.coupling());
    check_steps(context, regime, schedule, model, extensions);
    return model;
  });
}

}  // namespace noisysgd
