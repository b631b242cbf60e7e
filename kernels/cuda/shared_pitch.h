// How far apart the columns and rows of a tile lie in shared memory, so that what a warp reads at once lies in
// different banks.
#pragma once

namespace noisysgd::kernels::cuda {

struct Pitch {
  int position, row;  // elements between neighbouring columns, and between rows
};

// A tile [rows,columns,channels], read in runs of 8 channels at `runs` places at once, which together span all banks:
// place k lies in row k % step_rows * row_stride and column k / step_rows * column_stride. Rows begin at multiples of
// `alignment`. The smallest pitch with the fewest runs in one place.
constexpr Pitch conflict_free_pitch(int columns, int channels, int runs, int step_rows, int row_stride,
                                    int column_stride, int alignment) {
  for (int most = 1;; ++most)
    for (const int position : {channels, channels + 8})
      for (int row = (columns * position + alignment - 1) / alignment * alignment, last = row + 8 * runs; row < last;
           row += alignment) {
        bool good = true;
        for (int place = 0; place < runs; ++place) {
          int sharing = 0;
          const auto first = [&](int k) {
            return k % step_rows * row_stride * row + k / step_rows * column_stride * position;
          };
          for (int other = 0; other < runs; ++other) {
            const int apart = (first(other) - first(place) + (1 << 20) * runs) % (8 * runs);
            sharing += apart < 8 || apart > 8 * (runs - 1);
          }
          good = good && sharing <= most;
        }
        if (good) return {position, row};
      }
}

}  // namespace noisysgd::kernels::cuda
