#include "core/autograd.h"

#include "kernels/elementwise.h"

namespace noisysgd {

Variable Tape::leaf(Tensor value) { return record(std::move(value), nullptr); }

Variable Tape::record(Tensor value, Backward backward) {
  nodes_.push_back({std::move(backward), {}, value.shape()});
  return {std::move(value), static_cast<int>(nodes_.size()) - 1};
}

void Tape::backward(Context& context, const Variable& output, Tensor seed, const BackwardOptions& options) {
  NSGD_CHECK(output.needs_gradient() && output.id < static_cast<int>(nodes_.size()),
             "backward from a value that is not on this tape");
  BackwardPass pass(context, *this, options);
  for (Node& node : nodes_) {
    node.gradient = {};
    node.normalisation = nullptr;
  }
  pass.add_gradient(output.id, std::move(seed));
  for (int id = output.id; id >= 0; --id) {
    Node& node = nodes_[static_cast<size_t>(id)];
    if (!node.backward) continue;  // a leaf keeps its gradient
    pass.normalisation_ = std::move(node.normalisation);
    if (node.gradient.defined()) node.backward(pass, std::move(node.gradient));
    node.gradient = {};
    if (!options.retain) node.backward = nullptr;
  }
}

const Tensor& Tape::gradient(const Variable& variable) const {
  NSGD_CHECK(variable.needs_gradient() && variable.id < static_cast<int>(nodes_.size()),
             "gradient of a value that is not on this tape");
  return nodes_[static_cast<size_t>(variable.id)].gradient;
}

void BackwardPass::add_gradient(int id, Tensor gradient, std::shared_ptr<const Normalisation> from) {
  if (id < 0) return;
  Tape::Node& node = tape_.nodes_[static_cast<size_t>(id)];
  NSGD_CHECK(gradient.shape() == node.shape, "gradient {} for a value of shape {}", gradient.shape().text(),
             node.shape.text());
  node.normalisation = node.gradient.defined() ? nullptr : std::move(from);
  if (!node.gradient.defined()) {
    node.gradient = std::move(gradient);
  } else if (node.gradient.sole_owner()) {
    kernels::add(context.queue, gradient.elements(), gradient.f32(), node.gradient.f32());
  } else if (gradient.sole_owner()) {  // the other is shared with another branch (a residual sum hands one gradient to
                                       // both)
    kernels::add(context.queue, gradient.elements(), node.gradient.f32(), gradient.f32());
    node.gradient = std::move(gradient);
  } else {
    Tensor sum = zeros(context, node.shape);
    kernels::add(context.queue, sum.elements(), node.gradient.f32(), sum.f32());
    kernels::add(context.queue, sum.elements(), gradient.f32(), sum.f32());
    node.gradient = std::move(sum);
  }
}

}  // namespace noisysgd
