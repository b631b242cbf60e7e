#include <noisysgd/kernels/random.h>

#include <algorithm>

#include <noisysgd/kernels/simd/ops.h>

namespace noisysgd::kernels {

namespace simd {

namespace {

constexpr int64_t piece_size = 16384;  // a multiple of 32, so that every piece begins with a whole batch

template <class Fill>
void for_pieces(Queue& queue, int64_t n, const RandomStream& stream, float* x, Fill fill) {
  const PhiloxKey key{stream.step.read(), stream.tensor, static_cast<uint32_t>(stream.purpose),
                      static_cast<uint32_t>(stream.seed), static_cast<uint32_t>(stream.seed >> 32)};
#pragma omp parallel for schedule(static) num_threads(queue.threads()) if (n > piece_size)
  for (int64_t first = 0; first < n; first += piece_size) {
    fill(key, first, std::min(piece_size, n - first), x + first);
  }
}

}  // namespace

void random_normal(Queue& queue, const SimdKernels& kernels, int64_t n, float mean, float standard_deviation,
                   const RandomStream& stream, float* x) {
  for_pieces(queue, n, stream, x, [&](const PhiloxKey& key, int64_t first, int64_t count, float* to) {
    kernels.normal(key, first, count, mean, standard_deviation, to);
  });
}

void random_uniform(Queue& queue, const SimdKernels& kernels, int64_t n, float low, float high,
                    const RandomStream& stream, float* x) {
  for_pieces(queue, n, stream, x, [&](const PhiloxKey& key, int64_t first, int64_t count, float* to) {
    kernels.uniform(key, first, count, low, high, to);
  });
}

}  // namespace simd

namespace cpu {

void random_normal(Queue& queue, int64_t n, float mean, float standard_deviation, const RandomStream& stream,
                   float* x) {
  simd::random_normal(queue, simd::simd_kernels(), n, mean, standard_deviation, stream, x);
}

void random_uniform(Queue& queue, int64_t n, float low, float high, const RandomStream& stream, float* x) {
  simd::random_uniform(queue, simd::simd_kernels(), n, low, high, stream, x);
}

}  // namespace cpu

}  // namespace noisysgd::kernels
