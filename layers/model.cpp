#include "layers/model.h"

#include <algorithm>
#include <cmath>

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
      buffers_(network_->buffers()),
      arena_(context, network_->parameters(), false) {
  NSGD_CHECK(network_->output_shape() == Shape{classes},
             "the network's output {} is not one score for each of {} classes", network_->output_shape().text(),
             classes);
  bind_buffers(context, buffers_);
}

kernels::LossSums Model::accumulate(const Batch& batch, const AccumulateOptions& options) {
  Tape tape;
  const Forward pass{context_, &tape, true, options.seed, options.step, options.sample_offset};
  Variable logits = network_->forward(pass, {batch.images});
  const int64_t samples = batch.size();
  auto& queue = context_.queue;
  if (options.logits.defined()) copy(context_, logits.value, options.logits);

  const auto loss_gradient = [&](const Tensor& labels, const float* weights, float smoothing, kernels::LossSums& sums) {
    Tensor gradient(context_, logits.value.shape());
    kernels::softmax_cross_entropy(queue, samples, classes_, logits.value.f32(), labels.data<int32_t>(), weights,
                                   smoothing, gradient.f32(), nullptr, &sums);
    return gradient;
  };

  Statistics statistics = options.statistics;
  if (statistics.second_moment != SecondMoment::none && options.fisher_labels == FisherLabels::sampled) {
    const RandomStream stream{options.seed, options.step, 0, RandomPurpose::fisher_labels};
    Tensor labels = options.sampled_labels.defined() ? options.sampled_labels : Tensor(context_, {samples}, DType::i32);
    kernels::sample_labels(queue, samples, classes_, logits.value.f32(), stream,
                           static_cast<uint64_t>(options.sample_offset), labels.data<int32_t>());
    kernels::LossSums ignored;
    arena_.discard_gradients(true);
    // The Fisher matrix is of the model's likelihood: smoothing belongs to the targets of the data.
    tape.backward(context_, logits, loss_gradient(labels, nullptr, 0.0f, ignored), {statistics, true});
    arena_.discard_gradients(false);
    statistics.second_moment = SecondMoment::none;
  }
  kernels::LossSums sums;
  const float* weights = batch.sample_weights.defined() ? batch.sample_weights.f32() : nullptr;
  Tensor gradient = loss_gradient(batch.labels, weights, label_smoothing_, sums);
  tape.backward(context_, logits, std::move(gradient), {statistics, false});
  return sums;
}

Tensor Model::logits(const Tensor& images) { return network_->forward({context_}, {images}).value; }

kernels::LossSums Model::evaluate(const Batch& batch) {
  const Tensor scores = logits(batch.images);
  kernels::LossSums sums;
  kernels::softmax_cross_entropy(context_.queue, batch.size(), classes_, scores.f32(), batch.labels.data<int32_t>(),
                                 nullptr, 0.0f, nullptr, nullptr, &sums);
  return sums;
}

std::string Model::first_nonfinite_layer(const Batch& batch, uint64_t seed, uint32_t step) {
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

int64_t Model::usable_samples(int64_t samples) const {
  const int64_t ghost = network_->ghost_size();
  return ghost == 0 || samples < ghost ? samples : samples / ghost * ghost;
}

Graph Model::graph() const {
  Graph graph{network_->input_shape(), classes_, {}};
  const std::string output = network_->describe(graph, "input");
  graph.add({"loss", "softmax_cross_entropy", {output}, Shape{}, {{"label_smoothing", label_smoothing_}}});
  return graph;
}

}  // namespace noisysgd
