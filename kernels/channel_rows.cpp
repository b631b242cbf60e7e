#include <noisysgd/kernels/channel_rows.h>

#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels::cpu {
namespace {

NSGD_TARGET_CLONES void sum_full_rows(const float* x, int64_t rows, int64_t width, float* wide) {
  int64_t first = 0;
  for (; first + tile_columns <= width; first += tile_columns) {
    float sums[tile_columns] = {};
    for (int64_t row = 0; row < rows; ++row) {
#pragma omp simd
      for (int64_t j = 0; j < tile_columns; ++j) sums[j] += x[row * width + first + j];
    }
    for (int64_t j = 0; j < tile_columns; ++j) wide[first + j] += sums[j];
  }
  if (first == width) return;
  float sums[tile_columns] = {};
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t j = 0; j < width - first; ++j) sums[j] += x[row * width + first + j];
  for (int64_t j = 0; j < width - first; ++j) wide[first + j] += sums[j];
}

}  // namespace

void sum_wide_rows(const float* x, int64_t n, int64_t width, float* wide) {
  // Adds up partial sums of at most 256 rows: rounding errors grow with 256 + rows/256 terms instead of all rows.
  const int64_t rows = n / width;
  for (int64_t row = 0; row < rows; row += 256)
    sum_full_rows(x + row * width, std::min<int64_t>(256, rows - row), width, wide);
  for (int64_t i = rows * width; i < n; ++i) wide[i - rows * width] += x[i];
}

}  // namespace noisysgd::kernels::cpu
