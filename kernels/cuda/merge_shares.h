// The partial sums of a weight gradient over shares of the samples, merged by the launch that computes them, in a fixed
// order. In the grid of such a kernel each block has a tile of the weights and a share of the samples, and writes its
// sums of the tile. Consecutive shares form a team. The last block of a team to finish (last_block.h) adds up the
// team's sums, and the last of these blocks adds up the teams' sums, so that no block reads all of them.
#pragma once

#include <algorithm>
#include <cstdint>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/last_block.h>
#include <noisysgd/kernels/cuda/vector.h>
#include <noisysgd/kernels/cuda/weight_tiles.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {

// The merge as a kernel knows it.
struct ShareMerge {
  WeightTiles tiles;
  WeightSums to;
  bool by_vectors;             // whether four neighbouring weights are accessed at a time
  int32_t sums;                // 1, or 2 with WeightSums::beside
  int32_t shares, team;        // team: shares of a team (team_of); if it is 0, add_shares merges in a launch of its own
  float* partial = nullptr;    // [shares,tiles,sums,tile_rows,tile_columns]
  float* team_sums = nullptr;  // [teams,tiles,sums,tile_rows,tile_columns], if there are several teams
  unsigned* counters = nullptr;  // [tiles,teams + 1]

  constexpr int32_t teams() const { return team == 0 ? 0 : (shares + team - 1) / team; }
  // Where sum `sum` of a tile begins in the first share or team, and the distance to that of the next one.
  __device__ int64_t begin(int32_t tile, int32_t sum) const { return (int64_t{tile} * sums + sum) * tiles.size(); }
  constexpr int64_t pitch() const { return int64_t{tiles.count()} * sums * tiles.size(); }
  __device__ float* part(int32_t share, int32_t tile, int32_t sum) const {
    return partial + share * pitch() + begin(tile, sum);
  }
};

// How a kernel of this grid merges what it adds to `to`. Memory is taken from `scratch`.
ShareMerge share_merge(Queue& queue, Scratch& scratch, const ShareGrid& grid, const WeightSums& to);
// Adds up the partial sums if merge.team is 0.
void add_shares(Queue& queue, const ShareMerge& merge);

// Calls issue(blocks, merge), which launches a kernel that ends with merge_shares, and add_shares if it is needed. The
// blocks of the launch: tiles of the weights, shares of the samples.
template <class Issue>
void launch_merged(Queue& queue, const ShareGrid& grid, const WeightSums& to, const Issue& issue) {
  Scratch scratch(queue);
  const ShareMerge merge = share_merge(queue, scratch, grid, to);
  issue(dim3(static_cast<unsigned>(grid.tiles.count()), static_cast<unsigned>(grid.shares)), merge);
  if (merge.team == 0) add_shares(queue, merge);
}

// Writes the block's part of one sum, a tile [rows,columns] (ShareMerge::part). The block may have several groups of
// threads with other samples each: store(tile, pitch) writes those of this group to tile [rows,pitch]. Groups are added
// up in `shared`, which holds group_floats(groups, rows, columns).
inline constexpr int group_spread = 8;  // padding with which the lanes that hold fragments write to different banks
constexpr int group_floats(int groups, int rows, int columns) {
  return groups == 1 ? 0 : groups * rows * (columns + group_spread);
}
template <int groups, int rows, int columns, class Store>
__device__ void store_part(float* shared, int group, float* part, const Store& store) {
  if constexpr (groups == 1) {
    store(part, columns);
  } else {
    constexpr int pitch = columns + group_spread;
    __syncthreads();  // no thread still reads what `shared` held
    store(shared + group * rows * pitch, pitch);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x) * 4; i < rows * columns; i += static_cast<int>(blockDim.x) * 4) {
      const float* const from = shared + i / columns * pitch + i % columns;
      FloatVector<4> sum = load_vector<4>(from);
#pragma unroll
      for (int g = 1; g < groups; ++g) {
        const auto other = load_vector<4>(from + g * rows * pitch);
        for (int v = 0; v < 4; ++v) sum[v] += other[v];
      }
      store_vector(part + i, sum);
    }
  }
}

// The sum, in order, of four floats in each of `count` rows.
__device__ inline FloatVector<4> sum_rows(const float* from, int32_t count, int64_t pitch) {
  FloatVector<4> sum{};
#pragma unroll 8
  for (int32_t row = 0; row < count; ++row) {
    const auto part = load_vector<4>(from + row * pitch);
    for (int v = 0; v < 4; ++v) sum[v] += part[v];
  }
  return sum;
}

// Adds a total to the weights from [row,column] on. NaN stays NaN.
__device__ inline void add_total(const ShareMerge& merge, int32_t sum, int32_t row, int32_t column,
                                 FloatVector<4> total) {
  float* to = sum == 0 ? merge.to.grad_weight : merge.to.beside;
  if (!to) return;
  to += int64_t{row} * merge.tiles.columns + column;
  if (sum == 1)
    for (int v = 0; v < 4; ++v) total[v] = total[v] < merge.to.least ? merge.to.least : total[v];
  if (merge.by_vectors) {
    auto values = load_vector<4>(to);
    for (int v = 0; v < 4; ++v) values[v] += total[v];
    store_vector(to, values);
  } else {
    for (int v = 0; v < 4; ++v)
      if (column + v < merge.tiles.columns) to[v] += total[v];
  }
}

// Adds up `count` parts of a tile, whose first one's sums begin at `from`, and writes them to `to`, which begins at the
// same place in its part, or adds them to the weights if `to` is null. Not inlined: it would be most of the code, and
// of the time that nvcc takes, of every instance of a kernel.
__device__ __noinline__ inline void merge_tile(const ShareMerge& merge, int32_t tile, const float* from, int32_t count,
                                               float* to) {
  const WeightTiles& tiles = merge.tiles;
  const int32_t row0 = tile / tiles.column_tiles() * tiles.tile_rows,
                column0 = tile % tiles.column_tiles() * tiles.tile_columns;
  const int32_t rows = min(tiles.tile_rows, tiles.rows - row0);
  const int32_t row_vectors = (min(tiles.tile_columns, tiles.columns - column0) + 3) / 4;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < merge.sums * rows * row_vectors;
       i += static_cast<int32_t>(blockDim.x)) {
    const int32_t column = i % row_vectors * 4, row = i / row_vectors % rows, sum = i / row_vectors / rows;
    const int32_t place = sum * tiles.size() + row * tiles.tile_columns + column;
    const FloatVector<4> total = sum_rows(from + place, count, merge.pitch());
    if (to)
      store_vector(to + place, total);
    else
      add_total(merge, sum, row0 + row, column0 + column, total);
  }
}

// To be called by all threads of every block when the block has written its parts.
__device__ inline void merge_shares(const ShareMerge& merge, int32_t tile, int32_t share) {
  if (merge.team == 0) return;
  const int32_t teams = merge.teams(), team = share / merge.team;
  const int32_t first = team * merge.team, count = min(merge.team, merge.shares - first);
  unsigned* const counters = merge.counters + int64_t{tile} * (teams + 1);
  if (!is_last_block(counters + team, static_cast<unsigned>(count))) return;
  float* const sums = teams == 1 ? nullptr : merge.team_sums + merge.begin(tile, 0);
  float* const team_sums = sums ? sums + team * merge.pitch() : nullptr;
  merge_tile(merge, tile, merge.part(first, tile, 0), count, team_sums);
  if (teams > 1 && is_last_block(counters + teams, static_cast<unsigned>(teams)))
    merge_tile(merge, tile, sums, teams, nullptr);
}

}  // namespace noisysgd::kernels::cuda
