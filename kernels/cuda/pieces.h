// Many arrays in one launch: each is cut into pieces of one size, and the pieces of all arrays are numbered
// consecutively. A block computes one piece.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

// The array that a piece belongs to, and the piece's first element in it.
struct PiecePlace {
  int array;
  int64_t first;
};

// end[i]: the number of the first piece after array i.
__device__ inline PiecePlace place_of_piece(const int64_t* end, int arrays, int64_t piece, int64_t piece_size) {
  int low = 0, high = arrays - 1;  // binary search for the first array that ends after this piece
  while (low < high) {
    const int middle = (low + high) / 2;
    if (piece < end[middle])
      high = middle;
    else
      low = middle + 1;
  }
  return {low, (piece - (low == 0 ? 0 : end[low - 1])) * piece_size};
}

}  // namespace noisysgd::kernels::cuda
