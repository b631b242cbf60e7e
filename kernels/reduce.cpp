#include <noisysgd/kernels/reduce.h>

#include <algorithm>
#include <vector>

#include <noisysgd/kernels/parallel.h>

namespace noisysgd::kernels::cpu {

void tensor_sums(Queue& queue, std::span<const SummedTensor> tensors, int32_t targets, double* sums) {
  constexpr int64_t block_size = 16384;
  struct Share {
    double sum = 0, sum_of_squares = 0;
  };
  std::fill_n(sums, 2 * targets, 0.0);
  for (const SummedTensor& tensor : tensors) {
    const int64_t blocks = (tensor.n + block_size - 1) / block_size;
    std::vector<Share> shares(static_cast<size_t>(blocks));
    parallel_blocks(queue, blocks, tensor.n, [&](int64_t block, int64_t) {
      Share& share = shares[static_cast<size_t>(block)];
      for (int64_t i = block * block_size; i < std::min(tensor.n, (block + 1) * block_size); ++i) {
        share.sum += tensor.x[i];
        share.sum_of_squares += double{tensor.x[i]} * tensor.x[i];
      }
    });
    for (const Share& share : shares) {
      sums[2 * tensor.target] += share.sum;
      sums[2 * tensor.target + 1] += share.sum_of_squares;
    }
  }
}

}  // namespace noisysgd::kernels::cpu
