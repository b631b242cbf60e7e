// Runs an optimizer step on a CUDA device in one launch for many tensors, and sums the norms. An optimizer is a Rule:
//
//   struct Rule {
//     using Segment = …;          // of one parameter: n, gradient_sum, …
//     using Hyperparameters = …;  // with halted and gradient_factor
//     __device__ static void step_four(const Segment&, const Hyperparameters&, int64_t i, NormSums&);
//   };
#pragma once

#include <span>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/noise_field.h>
#include <noisysgd/kernels/cuda/pieces.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {

// The table of a launch's tensors is a kernel parameter, in which every block finds its tensor. A block computes one
// piece of a tensor; norms are summed piece by piece, in order.
constexpr int step_elements_per_thread = 8;
constexpr int64_t step_piece_size = int64_t{block_threads} * step_elements_per_thread;

template <class Rule>
struct SegmentTable {
  using Segment = typename Rule::Segment;
  // Kernel parameters are limited to 32764 bytes.
  static constexpr int max_segments = static_cast<int>(
      (32'764 - sizeof(typename Rule::Hyperparameters) - 4 * sizeof(double*)) / (sizeof(Segment) + sizeof(int64_t)));

  int count = 0;
  int64_t end[max_segments] = {};  // number of the first piece after the segment
  Segment segments[max_segments];

  bool full() const { return count == max_segments; }
  int64_t pieces() const { return count == 0 ? 0 : end[count - 1]; }
  void add(const Segment& segment) {
    end[count] = pieces() + divide_up(segment.n, step_piece_size);
    segments[count++] = segment;
  }
};

struct NormSums {
  double gradient = 0, noise = 0;
};

// norms [pieces,2]: ||g||^2 and ||eps||^2 of each piece, or null
template <class Rule>
__global__ void __launch_bounds__(block_threads)
    optimizer_step_kernel(const __grid_constant__ SegmentTable<Rule> table,
                          typename Rule::Hyperparameters hyperparameters, double* norms) {
  if (hyperparameters.halted.read() != 0) return;
  const int64_t piece = blockIdx.x;
  const PiecePlace place = place_of_piece(table.end, table.count, piece, step_piece_size);
  const typename Rule::Segment& segment = table.segments[place.array];
  NormSums sums;
  for (int step = 0; step < step_elements_per_thread / 4; ++step) {
    const int64_t i = place.first + 4 * (int64_t{step} * block_threads + threadIdx.x);
    if (i < segment.n) Rule::step_four(segment, hyperparameters, i, sums);
  }
  if (!norms) return;
  const double gradient = sum_block<block_threads>(sums.gradient), noise = sum_block<block_threads>(sums.noise);
  if (threadIdx.x != 0) return;
  norms[2 * piece] = gradient;
  norms[2 * piece + 1] = noise;
}

// total += the sum of all pieces' norms, by one block
template <class Hyperparameters>
__global__ void __launch_bounds__(block_threads)
    step_norms_kernel(int64_t pieces, const double* norms, Hyperparameters hyperparameters, StepNorms* total) {
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

template <class Rule>
void step_segments(Queue& queue, std::span<const typename Rule::Segment> segments,
                   const typename Rule::Hyperparameters& hyperparameters, StepNorms* norms) {
  int64_t total = 0;
  for (const auto& segment : segments) {
    check(segment, hyperparameters);
    total += divide_up(segment.n, step_piece_size);
  }
  if (total == 0) return;
  Scratch scratch(queue);
  double* const piece_norms = norms ? scratch.take<double>(2 * total) : nullptr;

  SegmentTable<Rule> table;
  int64_t done = 0;
  const auto step = [&] {
    if (table.pieces() == 0) return;
    launch(queue, optimizer_step_kernel<Rule>, static_cast<unsigned>(table.pieces()), block_threads, 0, table, hyperparameters,
           norms ? piece_norms + 2 * done : nullptr);
    done += table.pieces();
    table = {};
  };
  for (const auto& segment : segments) {
    if (segment.n == 0) continue;
    table.add(segment);
    if (table.full()) step();
  }
  step();

  if (norms) launch(queue, step_norms_kernel<typename Rule::Hyperparameters>, 1u, block_threads, 0, total, piece_norms, hyperparameters, norms);
}

}  // namespace noisysgd::kernels::cuda
