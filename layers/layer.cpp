#include "layers/layer.h"

namespace noisysgd {

Variable Layer::forward(const Forward& pass, Variable x) {
  const Shape& shape = x.value.shape();
  NSGD_CHECK(shape.rank() > 0 && shape.sample() == input_, "layer '{}': input {} where [N] x {} is expected", name_,
             shape.text(), input_.text());
  const int64_t samples = shape[0];
  Variable y = forward_impl(pass, std::move(x));
  NSGD_CHECK(y.value.shape() == output_.batched(samples), "layer '{}': output {} where [{}] x {} was promised", name_,
             y.value.shape().text(), samples, output_.text());
  if (pass.observe) pass.observe(name_, y.value);
  return y;
}

}  // namespace noisysgd
