#include "layers/layer.h"

namespace noisysgd {

Layer::Layer(std::string name, Shape input, Shape output)
    : name_(std::move(name)), input_(std::move(input)), output_(std::move(output)) {
  for (const int64_t extent : output_.extents())
    NSGD_CHECK(extent > 0, "layer '{}': its output {} would be empty", name_, output_.text());
  NSGD_CHECK(output_.has_at_most(most_elements), "layer '{}': its output {} would have more than {} elements", name_,
             output_.text(), most_elements);
}

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
