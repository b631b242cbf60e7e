// A blocked, right-looking factorisation in double precision. cuSOLVER makes one attempt and leaves its status on the
// device, so the host would have to wait to learn whether a larger jitter is needed. Here all attempts are issued to
// the stream, and the kernels of those that are not needed return at once.
#include <noisysgd/kernels/cholesky.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int tile = 64, pitch = tile + 1;  // in doubles; the pitch puts a column of a tile on different banks
constexpr int depth = 16, micro = 4;        // of the update's products: a thread computes 4x4 of a tile
constexpr size_t panel_bytes = sizeof(double) * 2 * tile * pitch;
static_assert((tile / micro) * (tile / micro) == block_threads && panel_bytes <= least_shared_memory);

enum State : int { not_needed = -1, at_work = 0, failed = 1 };

struct Problem {
  int64_t n;
  int panels;
  double* factor;    // [n,n], its lower triangle without the tiles on the diagonal
  double* diagonal;  // [n,tile]: the tiles on the diagonal
  double* trace;     // of the scaled matrix
  int* states;       // [attempts,panels + 1]: before each panel of each attempt, and at the end

  __host__ __device__ int* state(int attempt, int panel) const { return states + attempt * (panels + 1) + panel; }
};

__global__ void __launch_bounds__(block_threads) cholesky_trace_kernel(Problem p, float scale, const float* a) {
  double sum = 0;
  grid_stride(p.n, [&](int64_t i) { sum += double{scale} * a[i * p.n + i]; });
  sum = sum_block<block_threads>(sum);
  if (threadIdx.x == 0) *p.trace = sum;
}

// Begins an attempt: factor = scale A + relative (trace / n) I, unless the last one has succeeded or none can.
__global__ void __launch_bounds__(block_threads)
    cholesky_begin_kernel(Problem p, int attempt, float scale, double relative, const float* a) {
  const double trace = *p.trace;
  const bool needed = trace > 0 && trace < INFINITY && (attempt == 0 || *p.state(attempt - 1, p.panels) == failed);
  if (blockIdx.x == 0 && threadIdx.x == 0) *p.state(attempt, 0) = needed ? at_work : not_needed;
  if (!needed) return;
  const double jitter = relative * trace / static_cast<double>(p.n);
  grid_stride(p.n * p.n, [&](int64_t i) { p.factor[i] = double{scale} * a[i] + (i % (p.n + 1) == 0 ? jitter : 0.0); });
}

// Columns of panel `panel`. Every block factors the tile on the diagonal, D = L L^T. The first block stores L in
// `diagonal`, because the other blocks still read D; each other block solves X L^T = T for its tile T below D. Both are
// the same elimination, column by column, of the rows of D and T.
__global__ void __launch_bounds__(block_threads) cholesky_panel_kernel(Problem p, int attempt, int panel) {
  const int state = *p.state(attempt, panel);
  if (state != at_work) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *p.state(attempt, panel + 1) = state;
    return;
  }
  GPU_DYNAMIC_SHARED(double, rows);  // [2 tile,pitch]: D, T
  const int thread = static_cast<int>(threadIdx.x);
  const int height = blockIdx.x == 0 ? tile : 2 * tile;
  const int64_t first = int64_t{panel} * tile, second = first + int64_t{blockIdx.x} * tile;
  for (int i = thread; i < height * tile; i += block_threads) {
    const int row = i / tile, column = i % tile;
    const int64_t r = row < tile ? first + row : second + row - tile, c = first + column;
    // Outside the matrix it is padded with the identity, which changes nothing.
    rows[row * pitch + column] = r < p.n && c < p.n ? p.factor[r * p.n + c] : row == column ? 1.0 : 0.0;
  }
  __syncthreads();
  bool positive = true;
  for (int column = 0; column < tile; ++column) {
    const double pivot = rows[column * pitch + column];
    positive = positive && pivot > 0;  // the same for all threads
    const double inverse = positive ? 1 / sqrt(pivot) : 0.0;
    __syncthreads();
    for (int row = column + thread; row < height; row += block_threads) rows[row * pitch + column] *= inverse;
    __syncthreads();
    for (int i = thread; i < height * tile; i += block_threads) {
      const int row = i / tile, other = i % tile;
      if (other > column && row >= other)
        rows[row * pitch + other] -= rows[row * pitch + column] * rows[other * pitch + column];
    }
    __syncthreads();
  }
  if (blockIdx.x == 0 && thread == 0) *p.state(attempt, panel + 1) = positive ? at_work : failed;
  for (int i = thread; i < tile * tile; i += block_threads) {
    const int row = i / tile, column = i % tile;
    const int64_t r = second + row, c = first + column;
    if (r >= p.n || c >= p.n) continue;
    if (blockIdx.x == 0)
      p.diagonal[r * tile + column] = rows[row * pitch + column];
    else
      p.factor[r * p.n + c] = rows[(tile + row) * pitch + column];
  }
}

// Right of and below panel `panel`: factor -= L L^T of the panel's columns. Grid: tile columns, tile rows.
__global__ void __launch_bounds__(block_threads) cholesky_update_kernel(Problem p, int attempt, int panel) {
  if (blockIdx.x > blockIdx.y || *p.state(attempt, panel + 1) != at_work) return;
  GPU_SHARED(double, left, [depth][pitch]);
  GPU_SHARED(double, right, [depth][pitch]);
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / (tile / micro) * micro, column = thread % (tile / micro) * micro;
  const int64_t columns = int64_t{panel} * tile, below = columns + tile;
  const int64_t row0 = below + int64_t{blockIdx.y} * tile, column0 = below + int64_t{blockIdx.x} * tile;
  double sum[micro][micro] = {};
  for (int k0 = 0; k0 < tile; k0 += depth) {
    for (int i = thread; i < depth * tile; i += block_threads) {
      const int k = i % depth, place = i / depth;
      left[k][place] = row0 + place < p.n ? p.factor[(row0 + place) * p.n + columns + k0 + k] : 0.0;
      right[k][place] = column0 + place < p.n ? p.factor[(column0 + place) * p.n + columns + k0 + k] : 0.0;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < depth; ++k)
      for (int i = 0; i < micro; ++i)
        for (int j = 0; j < micro; ++j) sum[i][j] += left[k][row + i] * right[k][column + j];
    __syncthreads();
  }
  for (int i = 0; i < micro; ++i)
    for (int j = 0; j < micro; ++j) {
      const int64_t r = row0 + row + i, c = column0 + column + j;
      if (r < p.n && c <= r) p.factor[r * p.n + c] -= sum[i][j];
    }
}

// Writes the factor: zeros for a zero matrix, NaN if the last attempt failed or no attempt was possible.
__global__ void __launch_bounds__(block_threads) cholesky_end_kernel(Problem p, int last, float* lower) {
  const double trace = *p.trace;
  const bool whole = trace > 0 && trace < INFINITY && *p.state(last, p.panels) != failed;
  grid_stride(p.n * p.n, [&](int64_t i) {
    const int64_t row = i / p.n, column = i % p.n;
    const bool zero = trace == 0 || (whole && column > row);
    const bool on_diagonal = row / tile == column / tile;
    lower[i] = zero          ? 0.0f
               : !whole      ? NAN
               : on_diagonal ? static_cast<float>(p.diagonal[row * tile + column % tile])
                             : static_cast<float>(p.factor[i]);
  });
}

}  // namespace

void cholesky(Queue& queue, int64_t n, float scale, double jitter, const float* a, float* lower) {
  if (n == 0) return;
  const std::vector<double> jitters = cholesky_jitters(jitter);
  const auto attempts = static_cast<int>(jitters.size()), panels = static_cast<int>(divide_up(n, tile));
  Scratch scratch(queue);
  const auto [factor, diagonal, trace, states] =
      scratch.take<double, double, double, int>(n * n, n * tile, 1, int64_t{attempts} * (panels + 1));
  const Problem problem{n, panels, factor, diagonal, trace, states};

  launch(queue, cholesky_trace_kernel, 1, block_threads, 0, problem, scale, a);
  for (int attempt = 0; attempt < attempts; ++attempt) {
    launch(queue, cholesky_begin_kernel, grid_size(n * n), block_threads, 0, problem, attempt, scale, jitters[attempt],
           a);
    for (int panel = 0; panel < panels; ++panel) {
      const auto below = static_cast<unsigned>(panels - panel - 1);
      launch(queue, cholesky_panel_kernel, below + 1, block_threads, panel_bytes, problem, attempt, panel);
      if (below > 0)
        launch(queue, cholesky_update_kernel, dim3(below, below), block_threads, 0, problem, attempt, panel);
    }
  }
  launch(queue, cholesky_end_kernel, grid_size(n * n), block_threads, 0, problem, attempts - 1, lower);
}

}  // namespace noisysgd::kernels::cuda
