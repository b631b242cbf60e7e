#include "layers/model.h"

#include <algorithm>
#include <cmath>

#include "core/device_value.h"
#include "kernels/elementwise.h"

namespace noisysgd {

Batch Batch::rows(int64_t begin, int64_t end) const {
  return {images.rows(begin, end), labels.rows(begin, end),
          sample_weights.defined() ? sample_weights.rows(begin, end) : Tensor()};
}

Model::Model(Context& context, std::unique_ptr<Layer> network, int64_t classes, float label_smoothing)
    : context_(context),
      network_(std::move(network)),
      classes_(classes),
      label_smoothing_(label_smoothing),
      coupling_(network_->coupling()),
      buffers_(network_->buffers()),
      arena_(context, network_->parameters(), false) {
  NSGD_CHECK(network_->output_shape() == Shape{classes},
             "the network's output {} is not one score for each of {} classes", network_->output_shape().text(),
             classes);
  bind_buffers(context, buffers_);
}

// Ghost batches do not influence each other, so each can have its own passes.
void Model::accumulate_ghost_batches(const Batch& batch, const AccumulateOptions& options, kernels::LossSums* sums) {
  const int64_t samples = batch.size(), group = std::min(samples, options.statistics.ghost_size);
  NSGD_CHECK(coupling_.allows_parts_of(group), "ghost batches of {} samples are coupled by this network", group);
  NSGD_CHECK(samples % group == 0, "{} samples are not a multiple of the ghost size {}", samples, group);
  const auto rows = [](const Tensor& tensor, int64_t begin, int64_t end) {
    return tensor.defined() ? tensor.rows(begin, end) : Tensor();
  };
  for (int64_t begin = 0; begin < samples; begin += group) {
    const int64_t end = begin + group;
    AccumulateOptions part = options;
    part.statistics.second_moment = SecondMoment::none;
    part.sample_offset = options.sample_offset + begin;
    part.sampled_labels = rows(options.sampled_labels, begin, end);
    part.noise_weights = rows(options.noise_weights, begin, end);
    part.logits = rows(options.logits, begin, end);
    arena_.begin_group();
    accumulate(batch.rows(begin, end), part, sums);
    arena_.end_group();
  }
}

kernels::LossSums Model::accumulate(const Batch& batch, const AccumulateOptions& options) {
  const DeviceValue<kernels::LossSums> sums(context_);
  accumulate(batch, options, sums.place());
  const kernels::LossSums read = sums.read();
  check(read);
  return read;
}

void Model::accumulate(const Batch& batch, const AccumulateOptions& options, kernels::LossSums* sums) {
  if (options.statistics.second_moment != SecondMoment::none && options.statistics.ghost_size > 0)
    return accumulate_ghost_batches(batch, options, sums);
  Tape tape;
  const Forward pass{context_, &tape, true, options.seed, options.step, options.sample_offset};
  Variable logits = network_->forward(pass, {batch.images});
  const int64_t samples = batch.size();
  auto& queue = context_.queue;
  if (options.logits.defined()) copy(context_, logits.value, options.logits);

  const auto loss_gradient = [&](const Tensor& labels, const Tensor& weights, float smoothing,
                                 kernels::LossSums* to = nullptr) {
    Tensor gradient(context_, logits.value.shape());
    kernels::softmax_cross_entropy(queue, samples, classes_, logits.value.f32(), labels.data<int32_t>(),
                                   weights.defined() ? weights.f32() : nullptr, smoothing, gradient.f32(), nullptr, to);
    return gradient;
  };

  Statistics statistics = options.statistics;
  statistics.signs.sample_offset = options.sample_offset;
  const bool noise_pass = options.noise_weights.defined(), draw_pass = options.block_draw != nullptr;
  Tensor fisher_labels = batch.labels;
  // The Fisher matrix at sampled labels is of the model's likelihood: smoothing belongs to the targets of the data.
  const float fisher_smoothing = options.fisher_labels == FisherLabels::sampled ? 0.0f : label_smoothing_;
  if ((statistics.any() || noise_pass || draw_pass) && options.fisher_labels == FisherLabels::sampled) {
    fisher_labels = options.sampled_labels.defined() ? options.sampled_labels : Tensor(context_, {samples}, DType::i32);
    sample_labels(logits.value, {options.seed, options.step, 0, RandomPurpose::fisher_labels}, options.sample_offset,
                  fisher_labels);
  }
  const auto collect = [&](const Statistics& of_pass) {  // a pass that is run for its statistics alone
    arena_.gradients_into(GradientTarget::discarded);
    tape.backward(context_, logits, loss_gradient(fisher_labels, {}, fisher_smoothing), {of_pass, true});
    arena_.gradients_into(GradientTarget::gradient_sum);
  };
  if (statistics.any() && options.fisher_labels == FisherLabels::sampled) {
    collect(statistics);
    statistics = {};
  }
  if (draw_pass) {
    Statistics signs;
    signs.signs = {kernels::SignGrain::sample, 1, options.seed, options.step, options.sample_offset};
    arena_.noise_sums_into(*options.block_draw);
    collect(signs);
    arena_.noise_sums_into({});
  }
  if (noise_pass) {
    Tensor gradient;
    if (options.noise_labels == NoiseLabels::fisher) {
      gradient = loss_gradient(fisher_labels, options.noise_weights, fisher_smoothing);
    } else {
      const bool uniform = options.noise_labels == NoiseLabels::uniform;
      const RandomStream stream{options.seed, options.noise_step, 0, RandomPurpose::noise_labels};
      const Tensor labels(context_, {samples}, DType::i32);
      sample_labels(uniform ? zeros(context_, logits.value.shape()) : logits.value, stream, options.sample_offset,
                    labels);
      gradient = loss_gradient(labels, options.noise_weights, 0.0f);
      if (uniform) {  // the mean over labels, p - 1/K, is the gradient under complete smoothing; that of `model` is 0
        Tensor mean = loss_gradient(labels, options.noise_weights, 1.0f);
        kernels::scale(queue, mean.elements(), -1.0f, mean.f32(), mean.f32());
        kernels::add(queue, mean.elements(), mean.f32(), gradient.f32());
      }
    }
    arena_.gradients_into(GradientTarget::noise_sum);
    tape.backward(context_, logits, std::move(gradient), {{}, true});
    arena_.gradients_into(GradientTarget::gradient_sum);
  }
  Tensor gradient = loss_gradient(batch.labels, batch.sample_weights, label_smoothing_, sums);
  tape.backward(context_, logits, std::move(gradient), {statistics, false});
}

void Model::sample_labels(const Tensor& logits, const RandomStream& stream, int64_t offset, const Tensor& labels) {
  kernels::sample_labels(context_.queue, labels.elements(), classes_, logits.f32(), stream,
                         static_cast<uint64_t>(offset), labels.data<int32_t>());
}

Tensor Model::logits(const Tensor& images) { return network_->forward({context_}, {images}).value; }

void Model::evaluate(const Batch& batch, kernels::LossSums* sums) {
  const Tensor scores = logits(batch.images);
  kernels::softmax_cross_entropy(context_.queue, batch.size(), classes_, scores.f32(), batch.labels.data<int32_t>(),
                                 nullptr, 0.0f, nullptr, nullptr, sums);
}

std::string Model::first_nonfinite_layer(const Batch& batch, uint64_t seed, StepNumber step) {
  std::string culprit;
  Tape tape;  // with a tape layers are in training mode as in the step that failed
  Forward pass{context_, &tape, true, seed, step, 0};
  pass.observe = [&](const std::string& name, const Tensor& output) {
    if (!culprit.empty()) return;
    const std::vector<float> values = to_host<float>(context_, output);
    if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) culprit = name;
  };
  network_->forward(pass, {batch.images});
  return culprit;
}

Graph Model::graph() const {
  Graph graph{network_->input_shape(), classes_, {}};
  const std::string output = network_->describe(graph, "input");
  graph.add({"loss", "softmax_cross_entropy", {output}, Shape{}, {{"label_smoothing", label_smoothing_}}});
  return graph;
}

}  // namespace noisysgd
