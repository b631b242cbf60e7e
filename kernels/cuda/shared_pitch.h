// Pitches of tiles in shared memory with which a warp's reads go to different banks.
#pragma once

namespace noisysgd::kernels::cuda {

struct Pitch {
  int position, row;  // elements between neighbouring columns, and between rows
};

// For a tile [rows,columns,channels] that is read in runs of 8 channels at `runs` positions at once, which together
// span all banks. Position k is in row k % step_rows * row_stride and column k / step_rows * column_stride. Rows begin
// at multiples of `alignment`. Returns the smallest pitch with the fewest runs that share banks.
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

// Whether reads of 8 neighbouring elements in each of 4 neighbouring rows of this pitch go to different banks. Rows
// begin at multiples of 16 bytes.
constexpr bool conflict_free_rows(int pitch, int element_bytes) {
  for (int rows = 1; rows < 4; ++rows) {
    const int apart = rows * pitch * element_bytes % 128;
    if (apart < 8 * element_bytes || apart > 128 - 8 * element_bytes) return false;
  }
  return true;
}

}  // namespace noisysgd::kernels::cuda
