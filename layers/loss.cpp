#include <noisysgd/layers/loss.h>

#include <fmt/format.h>

#include <noisysgd/kernels/loss_rows.h>
#include <noisysgd/kernels/row_products.h>

namespace noisysgd {

void Loss::sample_labels(Context&, const Tensor&, const RandomStream&, int64_t, const Tensor&) const {
  throw Error("loss.type: this loss defines no label probabilities, so labels cannot be sampled");
}

void Loss::curvature(const CurvatureCall&) const {
  Graph graph;
  describe(graph, "input");
  throw Error(fmt::format("loss.type: \"{}\" does not tell its second derivatives, which products with curvature "
                          "matrices and temperatures are made of",
                          graph.nodes.back().type));
}

void SampleLoss::check(const Device& device) const {
  NSGD_CHECK(device.backend == Backend::cpu, "loss.type: this loss runs only on the CPU; use --device cpu");
}

void SampleLoss::evaluate(const LossCall& call) const {
  const int64_t samples = call.logits.shape()[0], classes = call.logits.shape()[1];
  const auto row_loss = [&](const kernels::cpu::LossRow& row) {
    const auto size = static_cast<size_t>(row.classes);
    return sample_loss({row.logits, size}, row.label, call.targets, {row.gradient, row.gradient ? size : 0});
  };
  kernels::cpu::loss_rows(call.context.queue, "loss", samples, classes, call.logits.f32(),
                          call.labels.data<int32_t>(), call.weights.defined() ? call.weights.f32() : nullptr,
                          call.gradient.defined() ? call.gradient.f32() : nullptr, nullptr, call.sums, row_loss);
}

std::unique_ptr<Loss> SoftmaxCrossEntropy::read(const ConfigReader& json) {
  return std::make_unique<SoftmaxCrossEntropy>(
      static_cast<float>(json.number("label_smoothing", {.default_value = 0, .at_least = 0, .below = 1})));
}

void SoftmaxCrossEntropy::evaluate(const LossCall& call) const {
  // The mean over labels, with the gradient p - 1/K, is the loss with smoothing 1. Sampled labels follow the model's
  // likelihood and are not smoothed: smoothing applies to the targets of the data.
  const float smoothing =
      call.targets == Targets::training ? label_smoothing_ : call.targets == Targets::uniform ? 1.0f : 0.0f;
  kernels::softmax_cross_entropy(call.context.queue,
                                 {call.logits.shape()[0], call.logits.shape()[1], call.labels.data<int32_t>(),
                                  call.weights.defined() ? call.weights.f32() : nullptr},
                                 smoothing, call.logits.values(), call.gradient.values(), nullptr, call.sums);
}

void SoftmaxCrossEntropy::curvature(const CurvatureCall& call) const {
  kernels::softmax_curvature(call.context.queue, call.logits.shape()[0], call.logits.shape()[1], call.logits.f32(),
                             call.tangent.f32(), call.product.f32());
}

void SoftmaxCrossEntropy::sample_labels(Context& context, const Tensor& logits, const RandomStream& stream,
                                        int64_t offset, const Tensor& labels) const {
  kernels::sample_labels(context.queue, logits.shape()[0], logits.shape()[1], logits.f32(), stream,
                         static_cast<uint64_t>(offset), labels.data<int32_t>());
}

void SoftmaxCrossEntropy::describe(Graph& graph, const std::string& scores) const {
  graph.add({"loss", "softmax_cross_entropy", {scores}, Shape{}, {{"label_smoothing", label_smoothing_}}});
}

LossRegistry LossRegistry::builtin() {
  LossRegistry registry;
  registry.add("softmax_cross_entropy", SoftmaxCrossEntropy::read);
  return registry;
}

}  // namespace noisysgd
