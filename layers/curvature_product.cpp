#include <noisysgd/layers/curvature_product.h>

#include <algorithm>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/row_products.h>
#include <noisysgd/layers/dual.h>

namespace noisysgd {

namespace {

Tensor scaled(Context& context, float factor, const Tensor& x) {
  Tensor y(context, x.shape());
  kernels::scale(context.queue, x.elements(), factor, x.f32(), y.f32());
  return y;
}

}  // namespace

void CurvatureProduct::add(const Batch& batch, const Block& direction, const Block& sum) const {
  const Shape expected{model_.parameter_set().padded()};
  for (const Block* block : {&direction, &sum})
    NSGD_CHECK(block->defined() && block->all().shape() == expected,
               "curvature product: a block of {} numbers, where the model's parameters take {}",
               block->defined() ? block->all().elements() : 0, expected[0]);
  const int64_t micro = options_.micro_batch > 0 ? options_.micro_batch : std::max<int64_t>(1, batch.size());
  for (int64_t begin = 0; begin < batch.size(); begin += micro)
    add_part(batch.rows(begin, std::min(batch.size(), begin + micro)), direction, sum);
}

void CurvatureProduct::add_part(const Batch& batch, const Block& direction, const Block& sum) const {
  const CurvatureMatrix matrix = options_.matrix;
  const bool hessian = matrix == CurvatureMatrix::hessian;
  const auto beta = static_cast<float>(options_.inverse_temperature);
  Context& context = model_.context();
  Tape tape;
  // Only the Hessian knows how J_n itself changes, which is the gradient through tangents.
  const Dual z = model_.network().forward_dual({{context, &tape}, {context, hessian ? &tape : nullptr}, direction},
                                               {{batch.images}});
  if (!z.moves()) return;  // there are no parameters

  const Tensor scores = scaled(context, beta, z.value.value), tangent = scaled(context, beta, z.tangent.value);
  const Tensor change(context, scores.shape());  // of the gradient with respect to beta z
  Tensor gradient;
  if (matrix != CurvatureMatrix::gauss_newton) {
    gradient = Tensor(context, scores.shape());
    model_.loss().evaluate({context, scores, batch.labels, options_.targets, {}, gradient});
  }
  if (matrix == CurvatureMatrix::fisher)
    kernels::outer_product(context.queue, scores.shape()[0], scores.shape()[1], gradient.f32(), tangent.f32(),
                           change.f32());
  else
    model_.loss().curvature({context, scores, batch.labels, options_.targets, tangent, change});

  // S = sum_n dl_n/dz . zdot, of which only the derivatives are needed.
  const Variable derivative = tape.record(
      Tensor(context, {1}), [&, z = z.value.id, z_tangent = z.tangent.id](BackwardPass& pass, const Tensor&) {
        pass.add_gradient(z, scaled(context, beta, change));
        if (hessian) pass.add_gradient(z_tangent, scaled(context, beta, gradient));
      });
  tape.backward(context, derivative, Tensor(context, {1}), {.into = {.gradient = sum}});
}

}  // namespace noisysgd
