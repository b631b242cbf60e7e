#include "kernels/sgd_step.h"

#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/noise_field.h"
#include "kernels/cuda/pieces.h"
#include "kernels/cuda/reduce.h"

namespace noisysgd::kernels::cuda {
namespace {

// One launch takes many tensors: their table is a kernel parameter, and every block finds its tensor in it. A block
// takes one piece of a tensor; norms are summed piece by piece, in order.
constexpr int elements_per_thread = 8;
constexpr int64_t piece_size = int64_t{block_threads} * elements_per_thread;
constexpr int max_segments = 336;  // kernel parameters end at 32764 bytes

struct SegmentTable {
  int count = 0;
  int64_t end[max_segments] = {};  // first piece behind the segment
  SgdSegment segments[max_segments];

  bool full() const { return count == max_segments; }
  int64_t pieces() const { return count == 0 ? 0 : end[count - 1]; }
  void add(const SgdSegment& segment) {
    end[count] = pieces() + divide_up(segment.n, piece_size);
    segments[count++] = segment;
  }
};
static_assert(sizeof(SegmentTable) + sizeof(SgdHyperparameters) + sizeof(double*) <= 32'764, "too many parameters");

struct NormSums {
  double gradient = 0, noise = 0;
};

__device__ void step_four(const SgdSegment& segment, const SgdHyperparameters& h, int64_t i, NormSums& norms) {
  const Four gradient_sum = load_or_zero(segment.gradient_sum, segment.n, i);
  const Four noise = noise_at({segment.n, segment.gradient_sum, segment.noise, h.seed, h.step, segment.tensor}, i, gradient_sum);
  Four value = load_or_zero(segment.value, segment.n, i), velocity = load_or_zero(segment.velocity, segment.n, i);
  const float inverse_batch = h.inverse_batch * static_cast<float>(h.gradient_factor.read());
  const float learning_rate = h.learning_rate.read();
  for (int k = 0; k < 4; ++k) {
    const float gradient = gradient_sum.at[k] * inverse_batch;
    if (i + k < segment.n) {
      norms.gradient += double{gradient} * gradient;
      norms.noise += double{noise.at[k]} * noise.at[k];
    }
    float direction = gradient + value.at[k] * segment.weight_decay;
    if (!h.noise_after_momentum) direction += noise.at[k];
    float update = direction;
    if (segment.velocity) {
      velocity.at[k] = velocity.at[k] * h.momentum + direction;
      update = h.nesterov ? direction + velocity.at[k] * h.momentum : velocity.at[k];
    }
    if (h.noise_after_momentum) update += noise.at[k];
    value.at[k] -= update * learning_rate;
  }
  store(segment.value, segment.n, i, value);
  if (segment.velocity) store(segment.velocity, segment.n, i, velocity);
}

// norms [pieces,2]: ||g||^2 and ||eps||^2 of each piece, or null
__global__ void __launch_bounds__(block_threads)
    sgd_step_kernel(const __grid_constant__ SegmentTable table, SgdHyperparameters hyperparameters, double* norms) {
  if (hyperparameters.halted.read() != 0) return;
  const int64_t piece = blockIdx.x;
  const PiecePlace place = place_of_piece(table.end, table.count, piece, piece_size);
  const SgdSegment& segment = table.segments[place.array];
  NormSums sums;
  for (int step = 0; step < elements_per_thread / 4; ++step) {
    const int64_t i = place.first + 4 * (int64_t{step} * block_threads + threadIdx.x);
    if (i < segment.n) step_four(segment, hyperparameters, i, sums);
  }
  if (!norms) return;
  const double gradient = sum_block<block_threads>(sums.gradient), noise = sum_block<block_threads>(sums.noise);
  if (threadIdx.x != 0) return;
  norms[2 * piece] = gradient;
  norms[2 * piece + 1] = noise;
}

// total += the sum of all pieces' norms, by one block
__global__ void __launch_bounds__(block_threads)
    sgd_norms_kernel(int64_t pieces, const double* norms, SgdHyperparameters hyperparameters, StepNorms* total) {
  if (hyperparameters.halted.read() != 0) return;
  double gradient = 0, noise = 0;
  for (int64_t piece = threadIdx.x; piece < pieces; piece += block_threads) {
    gradient += norms[2 * piece];
    noise += norms[2 * piece + 1];
  }
  gradient = sum_block<block_threads>(gradient);
  noise = sum_block<block_threads>(noise);
  if (threadIdx.x != 0) return;
  const double factor = hyperparameters.gradient_factor.read();
  total->gradient_squared += gradient / (factor * factor);
  total->noise_squared += noise;
}

__global__ void __launch_bounds__(block_threads) draw_noise_kernel(NoiseDraw draw, float* noise) {
  grid_stride(divide_up(draw.n, 4), [&](int64_t block) {
    const int64_t i = 4 * block;
    store(noise, draw.n, i, noise_at(draw, i, load_or_zero(draw.gradient_sum, draw.n, i)));
  });
}

}  // namespace

void sgd_step(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
              StepNorms* norms) {
  int64_t total = 0;
  for (const SgdSegment& segment : segments) {
    check(segment, hyperparameters);
    total += divide_up(segment.n, piece_size);
  }
  if (total == 0) return;
  double* const piece_norms = norms ? static_cast<double*>(queue.workspace(sizeof(double) * 2 * total)) : nullptr;

  SegmentTable table;
  int64_t done = 0;
  const auto step = [&] {
    if (table.pieces() == 0) return;
    launch(queue, sgd_step_kernel, static_cast<unsigned>(table.pieces()), block_threads, 0, table, hyperparameters,
           norms ? piece_norms + 2 * done : nullptr);
    done += table.pieces();
    table = {};
  };
  for (const SgdSegment& segment : segments) {
    if (segment.n == 0) continue;
    table.add(segment);
    if (table.full()) step();
  }
  step();

  if (norms) launch(queue, sgd_norms_kernel, 1u, block_threads, 0, total, piece_norms, hyperparameters, norms);
}

void draw_noise(Queue& queue, const NoiseDraw& draw, float* noise) {
  check(draw);
  if (draw.n > 0)
    launch(queue, draw_noise_kernel, grid_size(divide_up(draw.n, 4)), block_threads, 0, draw, noise);
}

}  // namespace noisysgd::kernels::cuda
