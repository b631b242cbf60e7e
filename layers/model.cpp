#include <noisysgd/layers/model.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/core/glob.h>
#include <noisysgd/kernels/elementwise.h>

namespace noisysgd {

Batch Batch::rows(int64_t begin, int64_t end) const {
  return {images.rows(begin, end), labels.rows(begin, end)};
}

Model::Model(Context& context, std::unique_ptr<Layer> network, int64_t classes,
             std::shared_ptr<const Loss> loss)
    : context_(context),
      network_(std::move(network)),
      classes_(classes),
      loss_(std::move(loss)),
      coupling_(network_->coupling()),
      buffers_(network_->buffers()),
      parameters_(context, network_->parameters()) {
  NSGD_CHECK(network_->output_shape() == Shape{classes},
             "model: the network's output {} is not one score for each of {} classes", network_->output_shape().text(),
             classes);
  loss_->check(context.queue.device());
  bind_buffers(context, buffers_);
}

void Model::freeze(const std::vector<std::string>& globs) {
  for (const std::string& glob : globs) {
    check_glob("model.freeze", glob, parameters());
    for (Parameter* parameter : parameters())
      if (matches_glob(glob, parameter->name)) parameter->frozen = true;
  }
  NSGD_CHECK(globs.empty() || !parameters_.trained().empty(), "model.freeze: leaves no parameter to train");
}

void Model::accumulate(const Batch& batch, const ForwardOptions& options, std::span<const BackwardJob> jobs) {
  Tape tape;
  const Forward pass = training_pass(tape, options);
  const Variable logits = network_->forward(pass, {as_type(context_, batch.images, pass.images)});
  if (options.logits.defined()) copy(context_, logits.value, options.logits);
  Tensor sampled;
  if (std::ranges::any_of(jobs, [](const BackwardJob& job) { return job.loss.labels == Labels::sampled; })) {
    sampled = options.sampled_labels.defined() ? options.sampled_labels
                                               : Tensor(context_, {batch.size()}, DType::i32);
    loss_->sample_labels(context_, logits.value,
                         {options.samples.seed, options.samples.step, 0, RandomPurpose::fisher_labels},
                         options.samples.offset, sampled);
  }
  const SampleStream signs{options.samples.seed, options.noise_step, options.samples.offset};
  for (const BackwardJob& job : jobs) {
    Tensor seed = loss_gradient(logits.value, job, batch, sampled, options);
    tape.backward(context_, logits, std::move(seed), {job.collect, job.into, signs, &job != &jobs.back()});
  }
}

Forward Model::training_pass(Tape& tape, const ForwardOptions& options) const {
  const bool halves =
      context_.queue.device().backend == Backend::cuda && context_.queue.precision() == kernels::Precision::half;
  NSGD_CHECK(!halves || !context_.rounding.values,
             "NSGD_ROUND_STORED rounds values that are stored in fp32; at precision half they are stored in 16 bits");
  return {.context = context_,
          .tape = &tape,
          .training = true,
          .seed = options.samples.seed,
          .step = options.samples.step,
          .sample_offset = options.samples.offset,
          .images = halves ? DType::f16 : DType::f32};
}

Tensor Model::loss_gradient(const Tensor& logits, const BackwardJob& job, const Batch& batch, const Tensor& sampled,
                            const ForwardOptions& options) {
  const LossGradient& loss = job.loss;
  if (loss.labels == Labels::data)
    return gradient_at(logits, batch.labels, Targets::training, loss.weights, job.losses);
  if (loss.labels == Labels::sampled)
    return gradient_at(logits, sampled, Targets::label, loss.weights, job.losses);
  const bool uniform = loss.labels == Labels::uniform;
  const Tensor labels(context_, {batch.size()}, DType::i32);
  loss_->sample_labels(context_, uniform ? zeros(context_, logits.shape()) : logits,
                       {options.samples.seed, options.noise_step, 0, RandomPurpose::noise_labels},
                       options.samples.offset, labels);
  Tensor gradient = gradient_at(logits, labels, Targets::label, loss.weights, job.losses);
  if (uniform) {  // subtracts the mean over labels, which is 0 for `model`
    const Tensor mean = gradient_at(logits, labels, Targets::uniform, loss.weights);
    kernels::scale(context_.queue, mean.elements(), -1.0f, mean.f32(), mean.f32());
    kernels::add(context_.queue, mean.elements(), mean.f32(), gradient.f32());
  }
  return gradient;
}

Tensor Model::gradient_at(const Tensor& logits, const Tensor& labels, Targets targets, const Tensor& weights,
                          kernels::LossSums* losses) {
  Tensor gradient(context_, logits.shape());
  loss_->evaluate({context_, logits, labels, targets, weights, gradient, losses});
  return gradient;
}

Tensor Model::logits(const Tensor& images) { return network_->forward({context_}, {images}).value; }

Tensor Model::evaluate(const Batch& batch, kernels::LossSums* sums) {
  Tensor scores = logits(batch.images);
  loss_->evaluate(
      {.context = context_, .logits = scores, .labels = batch.labels, .targets = Targets::label, .sums = sums});
  return scores;
}

std::string Model::first_nonfinite_layer(const Batch& batch, const ForwardOptions& options) {
  std::string culprit;
  Tape tape;  // training mode with a tape, as in the step that failed
  Forward pass = training_pass(tape, options);
  pass.observe = [&](const std::string& name, const Tensor& output) {
    if (!culprit.empty()) return;
    const std::vector<float> values = to_host<float>(context_, as_type(context_, output, DType::f32));
    if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) culprit = name;
  };
  network_->forward(pass, {as_type(context_, batch.images, pass.images)});
  return culprit;
}

void Model::visit_state(StateVisitor& visitor) const {
  for (const Parameter* parameter : parameters()) visitor.visit(parameter->name, *parameter, parameter->value);
  for (const Buffer* buffer : buffers_) visitor.visit(buffer->name, buffer->value);
}

Graph Model::graph() const {
  Graph graph{network_->input_shape(), classes_, {}};
  const std::string output = network_->describe(graph, "input");
  loss_->describe(graph, output);
  return graph;
}

}  // namespace noisysgd
