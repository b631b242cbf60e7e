#include <noisysgd/layers/deferred.h>

namespace noisysgd {

void Deferred::write(Context& context) {
  if (value.defined()) return;
  value = Tensor(context, x.shape(), x.dtype());
  kernels::batch_norm_normalised(context.queue, shape,
                                 {.mean = mean.f32(),
                                  .inverse_std = inverse_std.f32(),
                                  .gamma = gamma.value.f32(),
                                  .beta = beta.value.f32(),
                                  .epilogue = {is_sum ? addend.values() : kernels::Values(), relu}},
                                 x.values(), value.values());
  addend = {};
}

kernels::ConvOperand operand_of(Context& context, const Variable& variable) {
  const Deferred* const of = variable.deferred.get();
  if (of && !of->value.defined() && !of->is_sum)
    return {of->x.values(), of->factor.f32(), of->term.f32(), of->shape.group};
  return written(context, variable).value.values();
}

Variable written(Context& context, Variable variable) {
  if (!variable.deferred) return variable;
  variable.deferred->write(context);
  variable.deferred->read = true;
  return {variable.deferred->value, variable.id};
}

}  // namespace noisysgd
