// Parallel loops of the CPU backend over contiguous ranges or independent blocks, with the queue's thread count.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cpu {

// Calls body(first, last) for disjoint ranges that cover [0, n). Ranges start at multiples of 64 elements (no false
// sharing), and there are at most n / grain of them (at least one).
template <class Body>
void parallel_ranges(Queue& queue, int64_t n, int64_t grain, const Body& body) {
  const int64_t threads = std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, queue.threads());
  if (threads == 1) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  const int64_t length = ((n + threads - 1) / threads + 63) / 64 * 64;
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(threads))
  for (int64_t range = 0; range < threads; ++range)
    if (range * length < n) body(range * length, std::min(n, (range + 1) * length));
}

// Calls body(block, thread) for every block in [0, count); thread < queue.threads() indexes private scratch. `work` is
// the total number of elements touched: little work stays on one thread. Callers derive the blocks from the shape
// alone, so that sums over them do not depend on the thread count.
template <class Body>
void parallel_blocks(Queue& queue, int64_t count, int64_t work, const Body& body) {
  const int64_t threads = std::clamp<int64_t>(std::min(count, work / 16384), 1, queue.threads());
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(threads)) if (threads > 1)
  for (int64_t block = 0; block < count; ++block) body(block, int64_t{omp_get_thread_num()});
}

// oneDNN and OpenBLAS use the calling thread's OpenMP thread count. This object sets it to the queue's for a scope.
class LibraryThreads {
 public:
  explicit LibraryThreads(const Queue& queue) : previous_(omp_get_max_threads()) {
    omp_set_num_threads(queue.threads());
  }
  ~LibraryThreads() { omp_set_num_threads(previous_); }
  LibraryThreads(const LibraryThreads&) = delete;
  LibraryThreads& operator=(const LibraryThreads&) = delete;

 private:
  int previous_;
};

}  // namespace noisysgd::kernels::cpu
