#include <noisysgd/core/autograd.h>

#include <noisysgd/kernels/elementwise.h>

namespace noisysgd {

Variable Tape::leaf(Tensor value) {
  nodes_.push_back({nullptr, false, value.shape(), gradient_type(value.dtype())});
  return {std::move(value), static_cast<int>(nodes_.size()) - 1};
}

Variable Tape::record(Tensor value, Backward backward) {
  Variable variable = leaf(std::move(value));
  nodes_.back().backward = [backward = std::move(backward)](BackwardPass& pass, Tensor grad_output, const Tensor&) {
    backward(pass, std::move(grad_output));
  };
  return variable;
}

Variable Tape::record(Tensor value, BackwardOfTwo backward) {
  Variable variable = leaf(std::move(value));
  nodes_.back().backward = std::move(backward);
  nodes_.back().adds_two = true;
  return variable;
}

void Tape::backward(Context& context, const Variable& output, Tensor seed, const BackwardOptions& options) {
  NSGD_CHECK(output.needs_gradient() && output.id < static_cast<int>(nodes_.size()),
             "backward from a value that is not on this tape");
  BackwardPass pass(context, *this, options);
  for (Node& node : nodes_) node.gradient = node.other = {};
  pass.add_gradient(output.id, std::move(seed));
  for (int id = output.id; id >= 0; --id) {
    Node& node = nodes_[static_cast<size_t>(id)];
    if (!node.backward) continue;  // a leaf keeps its gradient
    if (node.gradient.defined()) node.backward(pass, std::move(node.gradient), std::move(node.other));
    node.gradient = node.other = {};
    if (!options.retain) node.backward = nullptr;
  }
}

const Tensor& Tape::gradient(const Variable& variable) const {
  NSGD_CHECK(variable.needs_gradient() && variable.id < static_cast<int>(nodes_.size()),
             "gradient of a value that is not on this tape");
  return nodes_[static_cast<size_t>(variable.id)].gradient;
}

void BackwardPass::add_gradient(int id, Tensor gradient) {
  if (id < 0) return;
  Tape::Node& node = tape_.nodes_[static_cast<size_t>(id)];
  NSGD_CHECK(gradient.shape() == node.shape && gradient.dtype() == node.type,
             "gradient {} of {} for a value of shape {} whose gradients are {}", gradient.shape().text(),
             name_of(gradient.dtype()), node.shape.text(), name_of(node.type));
  round_stored(context, context.rounding.gradients, gradient);
  if (!node.gradient.defined()) {
    node.gradient = std::move(gradient);
  } else if (node.adds_two) {
    if (node.other.defined()) node.gradient = sum(std::move(node.gradient), std::move(node.other));
    node.other = std::move(gradient);
  } else {
    node.gradient = sum(std::move(node.gradient), std::move(gradient));
  }
}

Tensor BackwardPass::take_gradient(int id) {
  Tape::Node& node = tape_.nodes_[static_cast<size_t>(id)];
  Tensor gradient = std::move(node.gradient), other = std::move(node.other);
  node.gradient = node.other = {};
  return other.defined() ? sum(std::move(gradient), std::move(other)) : gradient;
}

Tensor BackwardPass::sum(Tensor a, Tensor b) {
  if (!a.sole_owner()) std::swap(a, b);  // shared with another branch: a residual sum passes one gradient to both
  if (a.sole_owner()) {
    kernels::add(context.queue, a.elements(), b.values(), a.values());
    round_stored(context, context.rounding.gradients, a);
    return a;
  }
  Tensor sum(context, a.shape(), a.dtype());
  copy(context, b, sum);
  kernels::add(context.queue, sum.elements(), a.values(), sum.values());
  round_stored(context, context.rounding.gradients, sum);
  return sum;
}

}  // namespace noisysgd
