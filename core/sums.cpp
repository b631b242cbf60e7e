#include <noisysgd/core/sums.h>

namespace noisysgd {

const KroneckerSums* Sums::kronecker_of(const KroneckerShape& shape) const {
  if (kronecker)
    for (const KroneckerSums& sums : *kronecker)
      if (sums.shape == &shape) return &sums;
  return nullptr;
}

void Sums::zero(Context& context) const {
  for (const Block* block : {&gradient, &second_moment, &signed_sum, &signed_variance})
    if (block->defined()) fill(context, block->all(), 0.0f);
  if (!kronecker) return;
  for (const KroneckerSums& sums : *kronecker) {
    if (sums.input.defined()) fill(context, sums.input, 0.0f);
    fill(context, sums.output, 0.0f);
  }
}

std::shared_ptr<const std::vector<KroneckerSums>> kronecker_sums(Context& context, const ParameterSet& parameters,
                                                                 bool of_inputs) {
  std::vector<KroneckerSums> all;
  for (const Parameter* parameter : parameters.list()) {
    const KroneckerShape* shape = parameter->kronecker;
    if (!shape || shape->weight != parameter) continue;
    KroneckerSums& sums = all.emplace_back();
    sums.shape = shape;
    if (of_inputs) sums.input = zeros(context, {shape->inputs, shape->inputs});
    sums.output = zeros(context, {shape->outputs, shape->outputs});
  }
  return std::make_shared<const std::vector<KroneckerSums>>(std::move(all));
}

}  // namespace noisysgd
