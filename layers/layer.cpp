#include <noisysgd/layers/layer.h>

#include <fmt/format.h>

#include <noisysgd/layers/deferred.h>

namespace noisysgd {

Layer::Layer(std::string name, Shape input, Shape output)
    : name_(std::move(name)), input_(std::move(input)), output_(std::move(output)) {
  for (const int64_t extent : output_.extents())
    NSGD_CHECK(extent > 0, "layer '{}': its output {} would be empty", name_, output_.text());
  NSGD_CHECK(output_.has_at_most(most_elements), "layer '{}': its output {} would have more than {} elements", name_,
             output_.text(), most_elements);
}

Variable Layer::forward(const Forward& pass, Variable x, Epilogue epilogue) {
  const Shape shape = x.value.shape();
  NSGD_CHECK(shape.rank() > 0 && shape.sample() == input_, "layer '{}': input {} where [N] x {} is expected", name_,
             shape.text(), input_.text());
  const int64_t samples = shape[0];
  if (!reads_deferred()) epilogue.addend = written(pass.context, std::move(epilogue.addend));
  if (x.deferred && (!reads_deferred() || x.deferred->read)) x = written(pass.context, std::move(x));
  const bool part_of_sum = epilogue.addend.value.defined();
  const bool owned = x.value.sole_owner();
  const void* const given = x.value.values().address;
  if (!epilogue.empty())
    NSGD_CHECK((fuses().addend || !part_of_sum) && (fuses().relu || !epilogue.relu),
               "layer '{}' cannot fuse an epilogue of {}", name_,
               !part_of_sum    ? "a ReLU"
               : epilogue.relu ? "a sum and a ReLU"
                               : "a sum");
  Variable y =
      epilogue.empty() ? forward_impl(pass, std::move(x)) : forward_fused(pass, std::move(x), std::move(epilogue));
  NSGD_CHECK(y.value.shape() == output_.batched(samples), "layer '{}': output {} where [{}] x {} is expected", name_,
             y.value.shape().text(), samples, output_.text());
  // A layer that does nothing returns x, which it does not write while others hold it.
  if (owned || y.value.values().address != given) round_stored(pass.context, pass.context.rounding.values, y.value);
  if (pass.observe && !part_of_sum) {
    y = written(pass.context, std::move(y));
    pass.observe(name_, y.value);
  }
  return y;
}

Variable Layer::forward_fused(const Forward&, Variable, Epilogue) {
  throw Error(fmt::format("layer '{}' has no forward_fused for the epilogues that it fuses", name_));
}

}  // namespace noisysgd
