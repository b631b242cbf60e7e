// Runs an optimizer step on the CPU in pieces of the parameters, which are distributed over the threads.
#pragma once

#include <algorithm>
#include <span>

#include <noisysgd/kernels/noise_field.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels {

// Tensors are cut into pieces of fixed size, and norms are summed piece by piece in order, so they do not depend on the
// number of threads.
inline constexpr int64_t step_piece_size = 16384;  // a multiple of 32, so that pieces begin at a whole batch of noise

// Calls step(segment, first, norms) for every piece: elements first .. first+step_piece_size-1 of a segment, or up to
// the segment's end. `step` sets norms[0] = ||g||^2, after hyperparameters.gradient_factor, and norms[1] = ||eps||^2 of
// the piece, unless its norms are null. A halted step does nothing. Throws what `check(segment, hyperparameters)`
// throws.
template <class Segment, class Hyperparameters, class Step>
void step_pieces(Queue& queue, std::span<const Segment> segments, const Hyperparameters& hyperparameters,
                 StepNorms* norms, Step step) {
  if (hyperparameters.halted.read() != 0) return;
  const auto pieces = [](const Segment& segment) { return (segment.n + step_piece_size - 1) / step_piece_size; };
  int64_t total = 0;
  for (const Segment& segment : segments) {
    check(segment, hyperparameters);
    total += pieces(segment);
  }
  Scratch scratch(queue);
  double* const partial = norms ? scratch.take<double>(2 * total) : nullptr;

  const int64_t threads = std::min<int64_t>(queue.threads(), std::max<int64_t>(total, 1));
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(threads)) if (threads > 1)
  for (int64_t thread = 0; thread < threads; ++thread) {
    // This thread's contiguous share of the pieces of all segments.
    const int64_t begin = thread * total / threads, end = (thread + 1) * total / threads;
    int64_t before = 0;
    for (const Segment& segment : segments) {
      const int64_t count = pieces(segment);
      for (int64_t i = std::max(begin, before); i < std::min(end, before + count); ++i)
        step(segment, (i - before) * step_piece_size, norms ? partial + 2 * i : nullptr);
      before += count;
    }
  }
  if (!norms) return;
  StepNorms own;
  for (int64_t i = 0; i < total; ++i) {
    own.gradient_squared += partial[2 * i];
    own.noise_squared += partial[2 * i + 1];
  }
  const double factor = hyperparameters.gradient_factor.read();
  norms->gradient_squared += own.gradient_squared / (factor * factor);
  norms->noise_squared += own.noise_squared;
}

}  // namespace noisysgd::kernels
