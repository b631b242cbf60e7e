// What backward passes add up over samples: the sums of a step, or the sinks of one pass. A block that is undefined is not
// wanted, and layers skip its work. optim/ divides once, so that micro-batches only add.
#pragma once

#include <memory>
#include <vector>

#include <noisysgd/core/block.h>

namespace noisysgd {

// K-FAC's sums of one layer; each undefined or accumulated.
struct KroneckerSums {
  const KroneckerShape* shape = nullptr;
  Tensor input;   // [inputs,inputs]: sum_n sum_t a a^T
  Tensor output;  // [outputs,outputs]: sum_n sum_t delta delta^T
};

struct Sums {
  Block gradient{};         // sum_n g_n
  Block second_moment{};    // sum_n g_n^2, by the estimator that Statistics names
  Block signed_sum{};       // gradients times random signs: Statistics::signs
  Block signed_variance{};  // the variance of signed_sum over signs: SignedSums::squares
  std::shared_ptr<const std::vector<KroneckerSums>> kronecker{};  // by layer; null: not wanted
  // [M] of the whole batch += ||g_n||^2 over all parameters. Undefined: not wanted. `zero` leaves it to its owner.
  Tensor sample_norms{};
  // [M,ParameterSet::padded] of the whole batch: row n, laid out as a Block, += g_n. As sample_norms.
  Tensor sample_gradients{};

  // The sums of this layer, or null.
  const KroneckerSums* kronecker_of(const KroneckerShape& shape) const;
  void zero(Context& context) const;
};

// Zero sums of every layer of these parameters that gives them.
std::shared_ptr<const std::vector<KroneckerSums>> kronecker_sums(Context& context, const ParameterSet& parameters,
                                                                 bool of_inputs);

}  // namespace noisysgd
