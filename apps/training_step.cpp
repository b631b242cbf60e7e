#include "apps/training_step.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string_view>

#include "optim/group_statistics.h"

namespace noisysgd {

bool graphs_wanted() {
  const char* value = std::getenv("NSGD_GRAPH");
  return !value || std::string_view(value) != "0";
}

TrainingStep::TrainingStep(Context& context, const Regime& regime, uint64_t seed, Model& model, const Loader& data,
                           WeightAverage* average, bool graphs)
    : context_(context),
      regime_(regime),
      seed_(seed),
      model_(model),
      data_(data),
      average_(average),
      sgd_(context, regime.sgd, regime.fisher, regime.noise),
      values_(context),
      sums_(context),
      graphs_(context, graphs) {
  if (!regime.log_layers) return;
  model.arena().require_second_moment();
  const auto layers = static_cast<int64_t>(layer_names(model.parameters()).size());
  layer_sums_ = Tensor(context, {layers, 2}, DType::f64);
  if (regime.log_groups) group_products_ = Tensor(context, {layers, 2, *regime.log_groups, *regime.log_groups});
}

NoiseBatch TrainingStep::noise_batch(const StepPlan& plan) const {
  return {plan.samples, model_.coupling().ghost_size(), seed_, {plan.values.step, &values_.place()->step}};
}

BatchPlace TrainingStep::place(const StepPlan& plan, int64_t offset) const {
  const kernels::StepValues* values = values_.place();
  return {{plan.values.epoch, &values->epoch}, {plan.values.first_sample, &values->first_sample}, offset};
}

bool TrainingStep::noise_in_gradient(const StepPlan& plan) const {
  return plan.noise && sgd_.weighs_losses(noise_batch(plan), plan.layers);
}

void TrainingStep::accumulate(const StepPlan& plan, const NoisePasses& passes) {
  AccumulateOptions options;
  options.seed = seed_;
  options.step = {plan.values.step, &values_.place()->step};
  options.fisher_labels = regime_.fisher.labels;
  std::optional<GroupStatistics> groups;
  if (plan.layers && regime_.log_groups)
    groups.emplace(context_, model_, SampleGroups(model_, regime_.fisher, plan.samples, *regime_.log_groups));
  const int64_t micro = micro_batch(plan);
  for (int64_t offset = 0, end = 0; offset < plan.samples; offset = end) {
    end = std::min(plan.samples, offset + micro);
    if (groups) end = groups->end_of_piece(offset, end);
    Batch batch = data_.shuffled(place(plan, offset), end - offset, seed_);
    passes.apply(offset, batch, options);
    if (groups) groups->begin_piece(offset, options);
    model_.accumulate(batch, options, &sums_.place()->step);
    if (groups) groups->end_piece(end);
  }
  if (groups) groups->multiply(group_products_);
}

// A batch that does not fit into the device's memory is cut into micro-batches: half as large until they fit. Only the
// first step of a kind can find that out; nothing of the step is done but its forward passes by then, which have moved
// the running statistics.
void TrainingStep::accumulate_what_fits(const StepPlan& plan, const NoisePasses& passes) {
  if (context_.queue.device().backend == Backend::cpu || graphs_.known(kind(plan))) return accumulate(plan, passes);
  std::vector<Tensor> statistics;
  for (const Buffer* buffer : model_.buffers())
    copy(context_, buffer->value, statistics.emplace_back(context_, buffer->shape));
  while (true) try {
      return accumulate(plan, passes);
    } catch (const OutOfMemory& error) {
      const int64_t whole = micro_batch(plan), smaller = smaller_micro_batch(plan);
      if (smaller == 0) throw;
      NSGD_CHECK(!regime_.batch.micro, "{}; batch.micro of {} does not fit, try {}", error.what(), whole, smaller);
      chosen_micro_ = smaller;
      context_.allocator.forget_temporaries();
      for (size_t i = 0; i < statistics.size(); ++i) copy(context_, statistics[i], model_.buffers()[i]->value);
      kernels::restart_sums(context_.queue, false, false, sums_.place());
      model_.arena().gradients_into(GradientTarget::gradient_sum);
      model_.arena().noise_sums_into({});
      model_.arena().zero_sums();
    }
}

int64_t TrainingStep::micro_batch(const StepPlan& plan) const {
  return std::min(plan.samples, chosen_micro_.value_or(regime_.batch.micro.value_or(plan.samples)));
}

// The next smaller size that holds whole ghost batches; 0: there is none.
int64_t TrainingStep::smaller_micro_batch(const StepPlan& plan) const {
  if (model_.coupling().of_whole_batch()) return 0;
  const int64_t ghost = std::max<int64_t>(1, model_.coupling().ghost_size());
  const int64_t group = std::lcm(ghost, regime_.batch.ghost_size.value_or(1));
  const int64_t groups = micro_batch(plan) / group;
  return (groups + 1) / 2 == groups ? 0 : (groups + 1) / 2 * group;
}

StepGraphs::Kind TrainingStep::kind(const StepPlan& plan) const {
  const Statistics statistics = plan.noise ? sgd_.statistics(noise_batch(plan), plan.layers) : Statistics{};
  return {plan.samples,
          micro_batch(plan),
          plan.noise,
          plan.norms,
          plan.layers,
          plan.values.step == 0,  // averages begin
          statistics.second_moment != SecondMoment::none,
          statistics.kronecker_input,
          statistics.kronecker_output};
}

void TrainingStep::run(const StepPlan& plan) {
  kernels::set_step_values(context_.queue, plan.values, values_.place());
  const bool recordable = !plan.noise || !regime_.noise.waits(noise_batch(plan));
  graphs_.run(kind(plan), recordable, [&] { issue(plan); });
}

void TrainingStep::issue(const StepPlan& plan) {
  const StepNumber step{plan.values.step, &values_.place()->step};
  model_.arena().zero_sums();
  NoisePasses passes = plan.noise ? sgd_.passes(noise_batch(plan), plan.layers) : NoisePasses{};
  if (plan.layers) regime_.fisher.collect(passes.statistics);
  accumulate_what_fits(plan, passes);

  kernels::TrainingSums* const sums = sums_.place();
  kernels::close_step(context_.queue, step, sums);
  // The processor need not wait to know that the rest of the step would only meet what is not finite.
  if (context_.queue.device().backend == Backend::cpu && sums->halted) return;
  if (plan.layers)
    layer_fisher(context_, regime_.fisher.of_one_batch(), model_.parameters(), plan.samples, layer_sums_);
  sgd_.step(model_.parameters(),
            {.learning_rate = {plan.values.learning_rate, &values_.place()->learning_rate},
             .batch = plan.samples,
             .seed = seed_,
             .step = step,
             .noise = plan.noise,
             .noise_in_gradient = passes.in_gradient(),
             .halted = Number<uint32_t>::at(&sums->halted)},
            plan.norms ? &sums->norms : nullptr);
  if (average_) average_->update();
}

std::string TrainingStep::first_nonfinite_layer(const StepPlan& plan, const kernels::LossSums& halted) {
  kernels::set_step_values(context_.queue, plan.values, values_.place());
  const int64_t offset = std::max<int64_t>(0, halted.nonfinite - 1);
  const Batch batch = data_.shuffled(place(plan, offset), std::min(micro_batch(plan), plan.samples - offset), seed_);
  return model_.first_nonfinite_layer(batch, seed_, plan.values.step);
}

}  // namespace noisysgd
