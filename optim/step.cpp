#include <noisysgd/optim/step.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>
#include <string_view>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/reduce.h>
#include <noisysgd/kernels/step_factors.h>

namespace noisysgd {

bool graphs_wanted() {
  const char* value = std::getenv("NSGD_GRAPH");
  return !value || std::string_view(value) != "0";
}

Step::Step(Context& context, Model& model, Noise& noise, Optimizer& optimizer, WeightAverage* average,
           const StepOptions& options)
    : context_(context),
      model_(model),
      noise_(noise),
      optimizer_(optimizer),
      average_(average),
      options_(options),
      values_(context),
      training_sums_(context),
      graphs_(context, options.graphs) {
  const ParameterSet& parameters = model.parameter_set();
  sums_.gradient = Block(context, parameters);
  if (options.fisher.squared_pass_samples() > 0) pass_gradient_ = Block(context, parameters);
  optimizer_.begin(context, parameters);
  check_names();
  for (const auto& measurement : options_.measurements) measurement->begin(context, model, options_.fisher, sums_);
}

namespace {

// Throws Error for a name that two owners of state have given.
class UniqueNames : public StateVisitor {
 public:
  void visit(const std::string& name, const Parameter&, const Tensor&) override { add(name); }
  void visit(const std::string& name, const Tensor&) override { add(name); }

 private:
  void add(const std::string& name) {
    NSGD_CHECK(names_.insert(name).second, "two tensors of the run's state are named '{}'", name);
  }
  std::set<std::string> names_;
};

}  // namespace

void Step::check_names() const {
  UniqueNames names;
  visit_state(names);
}

void Step::begin_noise() {
  noise_.begin(context_, model_.parameter_set(), options_.fisher);
  noise_.require_sums(context_, model_.parameter_set(), sums_);
  check_names();
}

StepNumbers Step::numbers(const StepRequest& request) const {
  const kernels::StepValues *values = values_.place(), &own = request.values;
  return {{own.step, &values->step},
          {own.epoch, &values->epoch},
          {own.first_sample, &values->first_sample},
          {own.learning_rate, &values->learning_rate}};
}

StepRecipe Step::recipe(const StepRequest& request) const {
  StepRecipe recipe;
  recipe.samples = request.samples;
  recipe.micro_batch = micro_batch(request.samples);
  recipe.norms = request.logged;
  recipe.measured = request.logged && !options_.measurements.empty();
  const bool keep_gradient = recipe.measured || options_.keep_gradient || options_.clip_norm;
  if (request.noise)
    recipe.noise = noise_.plan(options_.fisher, {request.samples, model_.coupling().ghost_size()},
                               request.values.step, keep_gradient);
  NSGD_CHECK(recipe.noise.labels == Labels::data || model_.loss().samples_labels(),
             "noise.type: \"{}\" draws labels from the predicted probabilities, and this loss.type has none",
             noise_.options().type);
  recipe.collect = recipe.noise.statistics;
  if (recipe.measured)
    for (const auto& measurement : options_.measurements) measurement->collect(options_.fisher, recipe.collect);
  if (recipe.collect.second_moment != SecondMoment::none)
    recipe.squared_pass_samples = options_.fisher.squared_pass_samples();
  return recipe;
}

void Step::run(const StepRequest& request, const BatchSource& source) {
  kernels::set_step_values(context_.queue, request.values, values_.place());
  const StepRecipe recipe = this->recipe(request);
  graphs_.run(recipe, !recipe.noise.needs_host, [&] { issue(recipe, source, numbers(request)); });
}

void Step::issue(const StepRecipe& recipe, const BatchSource& source, const StepNumbers& numbers) {
  accumulate_what_fits(recipe, source, numbers, !graphs_.known(recipe));

  kernels::TrainingSums* const training = training_sums_.place();
  kernels::close_step(context_.queue, numbers.step, training);
  // The processor need not wait to know that the rest of the step would only meet what is not finite.
  if (context_.queue.device().backend == Backend::cpu && training->halted) return;
  std::vector<Tensor> kept;
  std::vector<kernels::NoiseField> noise;
  if (recipe.noise.active)
    noise = noise_.prepare(context_, recipe.noise, options_.fisher, sums_, recipe.samples, options_.seed, numbers.step,
                           kept);
  optimizer_.step({.gradient = sums_.gradient,
                   .noise = noise,
                   .batch = recipe.samples,
                   .learning_rate = numbers.learning_rate,
                   .gradient_factor = clip_factor(recipe.samples, kept),
                   .noise_after_momentum = noise_.options().after_momentum,
                   .seed = options_.seed,
                   .step = numbers.step,
                   .halted = Number<uint32_t>::at(&training->halted),
                   .norms = recipe.norms ? &training->norms : nullptr});
  if (average_) average_->update();
}

// Of the gradient alone: the noise's variance is that of the raw sums.
Number<double> Step::clip_factor(int64_t samples, std::vector<Tensor>& kept) const {
  if (!options_.clip_norm) return 1.0;
  std::vector<kernels::SummedTensor> gradients;
  for (const Parameter* parameter : model_.parameters())
    gradients.push_back({parameter->shape.elements(), sums_.gradient.at(*parameter)});
  const Tensor& sums = kept.emplace_back(context_, Shape{1, 2}, DType::f64);
  kernels::tensor_sums(context_.queue, gradients, 1, sums.data<double>());
  const double* const squares = sums.data<double>() + 1;
  const Tensor& factor = kept.emplace_back(context_, Shape{1}, DType::f64);
  kernels::clip_factor(context_.queue, static_cast<double>(samples), *options_.clip_norm, squares,
                       factor.data<double>());
  return Number<double>::at(factor.data<double>());
}

// A batch that does not fit into the device's memory is cut into micro-batches: half as large until they fit. Only the
// first step of a recipe can find that out; by then its passes have only added to sums, which are cleared, and
// changed the running statistics, which are restored.
void Step::accumulate_what_fits(StepRecipe recipe, const BatchSource& source, const StepNumbers& numbers, bool first) {
  if (context_.queue.device().backend == Backend::cpu || !first) return accumulate(recipe, source, numbers);
  std::vector<Tensor> statistics;
  for (const Buffer* buffer : model_.buffers())
    copy(context_, buffer->value, statistics.emplace_back(context_, buffer->shape));
  while (true) try {
      return accumulate(recipe, source, numbers);
    } catch (const OutOfMemory& error) {
      const int64_t smaller = smaller_micro_batch(recipe.samples);
      if (smaller == 0) throw;
      NSGD_CHECK(!options_.micro, "{}; batch.micro of {} does not fit, try {}", error.what(), recipe.micro_batch,
                 smaller);
      chosen_micro_ = recipe.micro_batch = smaller;
      context_.allocator.forget_temporaries();
      for (size_t i = 0; i < statistics.size(); ++i) copy(context_, statistics[i], model_.buffers()[i]->value);
      kernels::restart_sums(context_.queue, false, false, training_sums_.place());
    }
}

int64_t Step::micro_batch(int64_t samples) const {
  return std::min(samples, chosen_micro_.value_or(options_.micro.value_or(samples)));
}

// The next smaller size that holds whole ghost batches; 0: there is none.
int64_t Step::smaller_micro_batch(int64_t samples) const {
  if (model_.coupling().of_whole_batch()) return 0;
  const int64_t group = std::lcm(std::max<int64_t>(1, model_.coupling().ghost_size()), options_.granularity);
  const int64_t groups = micro_batch(samples) / group;
  return (groups + 1) / 2 == groups ? 0 : (groups + 1) / 2 * group;
}

namespace {

Tensor rows(const Tensor& tensor, int64_t begin, int64_t end) {
  return tensor.defined() ? tensor.rows(begin, end) : Tensor();
}

}  // namespace

void Step::accumulate(const StepRecipe& recipe, const BatchSource& source, const StepNumbers& numbers,
                      const StepOutputs& outputs, std::optional<StepNumber> noise_step) {
  sums_.zero(context_);
  const int64_t samples = recipe.samples, squared = std::min(samples, recipe.squared_pass_samples);
  if (squared > 0) {
    NSGD_CHECK(model_.coupling().allows_parts_of(squared), "ghost batches of {} samples are coupled by this network",
               squared);
    NSGD_CHECK(samples % squared == 0, "{} samples are not a multiple of the ghost size {}", samples, squared);
  }
  const StepNumber of_noise = noise_step.value_or(numbers.step);
  const Tensor weights = noise_.sample_weights(context_, recipe.noise, samples, options_.seed, of_noise);
  std::vector<std::unique_ptr<StepMeasurement>> measured;
  if (recipe.measured)
    for (const auto& measurement : options_.measurements) measured.push_back(measurement->begin_step(sums_, samples));

  Sums of_pass = sums_;  // where a pass adds
  if (squared > 0) of_pass.gradient = pass_gradient_;
  Statistics collect = recipe.collect;
  if (squared > 0) collect.second_moment = SecondMoment::none;  // single samples are not squared
  for (int64_t begin = 0, end = 0; begin < samples; begin = end) {
    end = std::min(samples, begin + recipe.pass_samples());
    for (const auto& measurement : measured) end = measurement->end_of_pass(begin, end);
    if (squared > 0) fill(context_, pass_gradient_.all(), 0.0f);

    std::vector<BackwardJob> jobs;
    BackwardJob gradient{.loss = {Labels::data, {}},
                         .collect = collect,
                         .into = of_pass,
                         .losses = &training_sums_.place()->step};
    const Labels fisher_labels = options_.fisher.labels;
    if (collect.any() && fisher_labels != Labels::data) {  // a pass of their own
      BackwardJob& fisher = jobs.emplace_back(gradient);
      fisher.loss.labels = fisher_labels;
      fisher.into.gradient = {};
      fisher.losses = nullptr;
      gradient.collect = {};
    }
    for (const auto& measurement : measured) measurement->begin_pass(begin, gradient, jobs);
    if (weights.defined() && recipe.noise.weighs_losses) gradient.loss.weights = rows(weights, begin, end);
    if (weights.defined() && !recipe.noise.weighs_losses)
      jobs.push_back({.loss = {recipe.noise.labels, rows(weights, begin, end)},
                      .into = {.gradient = sums_.signed_sum}});
    jobs.push_back(gradient);
    model_.accumulate(source(numbers, begin, end - begin),
                      {.samples = {options_.seed, numbers.step, begin},
                       .noise_step = of_noise,
                       .logits = rows(outputs.logits, begin, end),
                       .sampled_labels = rows(outputs.sampled_labels, begin, end)},
                      jobs);

    if (squared > 0) {
      const int64_t n = model_.parameter_set().padded();
      kernels::add_square(context_.queue, n, pass_gradient_.all().f32(), sums_.second_moment.all().f32());
      kernels::add(context_.queue, n, pass_gradient_.all().f32(), sums_.gradient.all().f32());
    }
    for (const auto& measurement : measured) measurement->end_pass(end);
  }
  for (const auto& measurement : measured) measurement->end();
}

std::vector<Tensor> Step::draw_noise(const StepRecipe& recipe, StepNumber step) {
  std::vector<Tensor> draws, kept;
  const std::vector<kernels::NoiseField> fields =
      noise_.prepare(context_, recipe.noise, options_.fisher, sums_, recipe.samples, options_.seed, step, kept);
  for (const Parameter* parameter : model_.parameters()) {
    draws.emplace_back(context_, parameter->shape);
    const kernels::NoiseDraw draw{parameter->shape.elements(), sums_.gradient.at(*parameter), fields[parameter->index],
                                  options_.seed, step, parameter->index};
    kernels::draw_noise(context_.queue, draw, draws.back().f32());
  }
  return draws;
}

std::string Step::first_nonfinite_layer(const StepRequest& request, const BatchSource& source,
                                        const kernels::LossSums& halted) {
  kernels::set_step_values(context_.queue, request.values, values_.place());
  const StepNumbers numbers = this->numbers(request);
  const int64_t begin = std::max<int64_t>(0, halted.nonfinite - 1);
  const Batch batch = source(numbers, begin, std::min(recipe(request).pass_samples(), request.samples - begin));
  return model_.first_nonfinite_layer(batch, {.samples = {options_.seed, numbers.step, begin}});
}

void Step::visit_state(StateVisitor& visitor) const {
  model_.visit_state(visitor);
  optimizer_.visit_state(visitor);
  if (average_) average_->visit_state(visitor);
  noise_.visit_state(visitor);
}

}  // namespace noisysgd
