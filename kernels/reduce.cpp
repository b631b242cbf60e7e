#include "kernels/reduce.h"

#include <vector>

#include "kernels/parallel.h"

namespace noisysgd::kernels::cpu {

void tensor_sums(Queue& queue, int64_t n, const float* x, TensorSums* sums) {
  constexpr int64_t block_size = 16384;
  const int64_t blocks = (n + block_size - 1) / block_size;
  std::vector<TensorSums> partial(static_cast<size_t>(blocks));
  parallel_blocks(queue, blocks, n, [&](int64_t block, int64_t) {
    TensorSums& part = partial[static_cast<size_t>(block)];
    for (int64_t i = block * block_size; i < std::min(n, (block + 1) * block_size); ++i) {
      part.sum += x[i];
      part.sum_of_squares += double{x[i]} * x[i];
    }
  });
  for (const TensorSums& part : partial) {
    sums->sum += part.sum;
    sums->sum_of_squares += part.sum_of_squares;
  }
}

}  // namespace noisysgd::kernels::cpu
