// How the kernels of a weight gradient divide their work: tiles of the weights, shares of the samples, and teams of
// shares, whose sums are merged (merge_shares.h).
#pragma once

#include <cstdint>

namespace noisysgd::kernels::cuda {

// The tiles of weights [rows,columns]. Tile t has rows from t / column_tiles() * tile_rows on, and columns from
// t % column_tiles() * tile_columns on; the last ones may exceed the weights. tile_columns is a multiple of 4.
struct WeightTiles {
  int32_t rows, columns, tile_rows, tile_columns;

  constexpr int32_t column_tiles() const { return (columns + tile_columns - 1) / tile_columns; }
  constexpr int32_t count() const { return (rows + tile_rows - 1) / tile_rows * column_tiles(); }
  constexpr int32_t size() const { return tile_rows * tile_columns; }
};

struct ShareGrid {
  WeightTiles tiles;
  int64_t shares;
};

// What the sums are added to, [K,R,S,C] each.
struct WeightSums {
  float* grad_weight;  // may be null
  float* beside;       // a second moment or the signed sums; null if and only if the kernel forms the gradient alone
  float least = 0;     // the second sum is raised to this, because a second moment of pairs may be below 0 by rounding
};

// A block merges at most so many bytes: those of its team, and those of the teams. A multiprocessor reads at most 64
// bytes per cycle from the L2 cache: 8192 cycles for these bytes, about the time that a launch takes. All
// multiprocessors together, which a launch has, read far more.
inline constexpr int64_t most_merged_bytes = int64_t{512} << 10;

// The shares of a team, for `bytes` of sums in each share of a tile: all shares if these are few, else the square root
// of their number. 0 if one block would read more than most_merged_bytes: a second launch must merge.
int64_t team_of(int64_t shares, int64_t bytes);

}  // namespace noisysgd::kernels::cuda
