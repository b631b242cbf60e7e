#include <noisysgd/kernels/reduce.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/pieces.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

// Tensors are cut into pieces of one block each, and a launch handles a table of tensors. A second kernel adds up the
// pieces of each target in order.
constexpr int64_t piece_size = 16 * block_threads;
constexpr int max_tensors = 960;

struct TensorTable {
  int count = 0;
  int64_t end[max_tensors] = {};  // number of the first piece after the tensor
  SummedTensor tensors[max_tensors];
};
static_assert(sizeof(TensorTable) <= 32'700, "kernel parameters are limited to 32764 bytes");

struct Share {
  double sum, sum_of_squares;
  int64_t target;
};

// shares[piece]
__global__ void __launch_bounds__(block_threads)
    tensor_sums_kernel(const __grid_constant__ TensorTable table, Share* shares) {
  const int64_t piece = blockIdx.x;
  const PiecePlace place = place_of_piece(table.end, table.count, piece, piece_size);
  const SummedTensor& tensor = table.tensors[place.array];
  const int64_t first = place.first;
  const int64_t last = first + piece_size < tensor.n ? first + piece_size : tensor.n;
  double sum = 0, sum_of_squares = 0;
  for (int64_t i = first + threadIdx.x; i < last; i += block_threads) {
    const double value = tensor.x[i];
    sum += value;
    sum_of_squares += value * value;
  }
  sum = sum_block<block_threads>(sum);
  sum_of_squares = sum_block<block_threads>(sum_of_squares);
  if (threadIdx.x == 0) shares[piece] = {sum, sum_of_squares, tensor.target};
}

// Block t computes sums[2t] and sums[2t+1] from the shares of target t, which are contiguous.
__global__ void __launch_bounds__(block_threads) target_sums_kernel(int64_t pieces, const Share* shares, double* sums) {
  const int64_t target = blockIdx.x;
  const auto first_of = [&](int64_t wanted) {  // the first share of this target or a later one
    int64_t low = 0, high = pieces;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (shares[middle].target < wanted)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  };
  double sum = 0, sum_of_squares = 0;
  const int64_t last = first_of(target + 1);
  for (int64_t piece = first_of(target) + threadIdx.x; piece < last; piece += block_threads) {
    sum += shares[piece].sum;
    sum_of_squares += shares[piece].sum_of_squares;
  }
  sum = sum_block<block_threads>(sum);
  sum_of_squares = sum_block<block_threads>(sum_of_squares);
  if (threadIdx.x != 0) return;
  sums[2 * target] = sum;
  sums[2 * target + 1] = sum_of_squares;
}

}  // namespace

void tensor_sums(Queue& queue, std::span<const SummedTensor> tensors, int32_t targets, double* sums) {
  if (targets == 0) return;
  int64_t pieces = 0;
  for (const SummedTensor& tensor : tensors) pieces += divide_up(tensor.n, piece_size);
  Scratch scratch(queue);
  Share* const shares = scratch.take<Share>(pieces + 1);

  TensorTable table;
  int64_t done = 0;
  const auto sum_table = [&] {
    if (table.count == 0) return;
    const int64_t count = table.end[table.count - 1];
    launch(queue, tensor_sums_kernel, static_cast<unsigned>(count), block_threads, 0, table, shares + done);
    done += count;
    table.count = 0;
  };
  for (const SummedTensor& tensor : tensors) {
    if (tensor.n == 0) continue;
    const int64_t before = table.count == 0 ? 0 : table.end[table.count - 1];
    table.end[table.count] = before + divide_up(tensor.n, piece_size);
    table.tensors[table.count++] = tensor;
    if (table.count == max_tensors) sum_table();
  }
  sum_table();
  launch(queue, target_sums_kernel, static_cast<unsigned>(targets), block_threads, 0, pieces, shares, sums);
}

}  // namespace noisysgd::kernels::cuda
