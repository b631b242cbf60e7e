#include <noisysgd/layers/conv_block.h>

namespace noisysgd {

namespace {

// [groups,group_items,C] of f64
Tensor item_statistics(Context& context, const kernels::ConvBlockShape& shape) {
  return Tensor(context, {shape.groups(), shape.group_items(), shape.conv.out_channels}, DType::f64);
}

}  // namespace

std::optional<ConvBlock> ConvBlock::find(const Forward& pass, const kernels::ConvShape& conv, const Variable& x,
                                         std::shared_ptr<Normalisation> behind) {
  if (!pass.tape || x.value.dtype() != DType::f16 || (!x.deferred && !behind)) return {};
  const kernels::ConvBlockShape shape{conv, x.deferred ? x.deferred->shape.group : behind->group};
  if (!kernels::conv_block_takes(pass.context.queue, shape)) return {};
  if (behind && behind->group != shape.group) behind = nullptr;
  if (x.deferred) x.deferred->read = true;
  if (behind) behind->takes_factors = true;
  return ConvBlock(shape, x.deferred, std::move(behind));
}

void ConvBlock::forward(const Forward& pass, const Variable& x, const Parameter& weight, const Tensor& y) const {
  auto& context = pass.context;
  kernels::ConvBlockInput input{.x = x.value.values()};
  if (before_) {
    input.x = before_->x.values();
    input.factor = before_->factor.f32();
    input.term = before_->term.f32();
    if (before_->is_sum) input.addend = before_->addend.values();
    if (before_->is_sum || before_->wanted) {  // the weight gradient cannot make a sum
      before_->value = Tensor(context, before_->x.shape(), DType::f16);
      input.made = before_->value.values();
    }
  }
  kernels::ConvBlockStatistics statistics;
  if (behind_) {
    behind_->block_mean = item_statistics(context, shape_);
    behind_->block_m2 = item_statistics(context, shape_);
    behind_->block_positions = shape_.item_positions();
    statistics = {behind_->block_mean.data<double>(), behind_->block_m2.data<double>()};
  }
  kernels::conv_block_forward(context.queue, shape_, input, weight.value.f32(), statistics, y.values());
  if (before_) before_->addend = {};
}

bool ConvBlock::backward(BackwardPass& pass, const Variable& x, const Parameter& weight, const Tensor& y,
                         Tensor& gradient) const {
  if (!behind_ || !behind_->factors.defined()) return false;
  auto& context = pass.context;
  const Tensor stored = std::move(behind_->factors);
  const kernels::BatchNormFactors factors = factors_in(stored);
  // All other readers of x have passed their gradients on, since this convolution was the first to read it. The kernels
  // add one such gradient where they read the ReLU's sign from its output, which is all they can do for a sum.
  const bool reads = before_ && x.needs_gradient();
  const Tensor other = reads ? pass.take_gradient(x.id) : Tensor();
  if (!reads || (before_->is_sum && !other.defined())) {
    Tensor grad_y = output_over(context, gradient);
    const kernels::BatchNormShape shape{shape_.conv.batch, shape_.conv.positions(), shape_.conv.out_channels,
                                        shape_.group};
    kernels::batch_norm_input_gradient(context.queue, shape, factors, y.values(), gradient.values(), grad_y.values());
    gradient = std::move(grad_y);
    return false;
  }
  Tensor grad_y = gradient_of(context, y), grad_x = gradient_of(context, x.value);
  Tensor sums(context, {shape_.conv.batch, shape_.bands(), shape_.conv.in_channels, 2});
  kernels::ConvBlockBefore before{.x = before_->x.values(), .mean = before_->mean.f32(), .sums = sums.f32()};
  if (other.defined()) {
    before_->write(context);
    before.sum = before_->value.values();
    before.other = other.values();
  } else {
    before.factor = before_->factor.f32();
    before.term = before_->term.f32();
  }
  kernels::conv_block_backward_data(
      context.queue, shape_, weight.value.f32(),
      {gradient.values(), y.values(), factors.grad, factors.x, factors.term, grad_y.values()}, before, grad_x.values());
  before_->gradient_sums = std::move(sums);
  gradient = std::move(grad_y);
  pass.add_gradient(x.id, std::move(grad_x));
  return true;
}

}  // namespace noisysgd
