// The host's part of merging the partial sums of a weight gradient, and the kernel that merges them in a launch of its
// own where there are too many for one block.
#include <noisysgd/kernels/cuda/merge_shares.h>

#include <bit>
#include <cmath>

#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

// Grid: vectors of four sums of a tile, tiles and their sums. A block computes block_threads / rows vectors; its rows
// add up shares row, row + rows, ..., and the rows are then added in order.
__global__ void __launch_bounds__(block_threads) sum_shares_kernel(const __grid_constant__ ShareMerge merge, int rows) {
  GPU_SHARED(FloatVector<4>, sums, [block_threads]);
  const WeightTiles& tiles = merge.tiles;
  const int thread = static_cast<int>(threadIdx.x), columns = block_threads / rows, first_row = thread / columns;
  const int32_t place = (static_cast<int32_t>(blockIdx.x) * columns + thread % columns) * 4;  // in a tile
  const auto sum = static_cast<int32_t>(blockIdx.y) % merge.sums, tile = static_cast<int32_t>(blockIdx.y) / merge.sums;
  const int32_t row = tile / tiles.column_tiles() * tiles.tile_rows + place / tiles.tile_columns;
  const int32_t column = tile % tiles.column_tiles() * tiles.tile_columns + place % tiles.tile_columns;
  const bool exists = place < tiles.size() && row < tiles.rows && column < tiles.columns;
  FloatVector<4> total{};
  if (exists)
    total = sum_rows(merge.part(first_row, tile, sum) + place, (merge.shares - first_row + rows - 1) / rows,
                     rows * merge.pitch());
  sums[thread] = total;
  __syncthreads();
  if (thread >= columns || !exists) return;
  for (int other = 1; other < rows; ++other)
    for (int v = 0; v < 4; ++v) total[v] += sums[other * columns + thread][v];
  add_total(merge, sum, row, column, total);
}

}  // namespace

int64_t team_of(int64_t shares, int64_t bytes) {
  // Bytes that are read in the time that another level takes: writing sums, counting, and waiting for the first loads.
  constexpr int64_t level_bytes = 64 << 10;
  if (shares == 1) return 1;
  const auto team = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(shares))));
  const int64_t teams = divide_up(shares, team);
  const bool two_levels = (shares - team - teams) * bytes > level_bytes;
  if ((two_levels ? team + teams : shares) * bytes > most_merged_bytes) return 0;
  return two_levels ? team : shares;
}

ShareMerge share_merge(Queue& queue, Scratch& scratch, const ShareGrid& grid, const WeightSums& to) {
  const auto& [tiles, shares] = grid;
  const int sums = to.beside ? 2 : 1;
  ShareMerge merge{
      .tiles = tiles,
      .to = to,
      .by_vectors = vector_of(tiles.columns, {to.grad_weight, to.beside}) == 4,
      .sums = sums,
      .shares = static_cast<int32_t>(shares),
      .team = static_cast<int32_t>(team_of(shares, int64_t{sums} * tiles.size() * int64_t{sizeof(float)}))};
  const int64_t teams = merge.teams();
  std::tie(merge.partial, merge.team_sums) =
      scratch.take<float, float>(shares * merge.pitch(), teams > 1 ? teams * merge.pitch() : 0);
  merge.counters = queue.cuda().counters(merge.team > 0 && shares > 1 ? tiles.count() * (teams + 1) : 0);
  return merge;
}

void add_shares(Queue& queue, const ShareMerge& merge) {
  const auto rows = static_cast<int>(std::bit_ceil(static_cast<uint32_t>(std::clamp(merge.shares / 4, 1, 32))));
  const dim3 blocks(static_cast<unsigned>(divide_up(merge.tiles.size() / 4, block_threads / rows)),
                    static_cast<unsigned>(merge.tiles.count() * merge.sums));
  launch(queue, sum_shares_kernel, blocks, block_threads, 0, merge, rows);
}

}  // namespace noisysgd::kernels::cuda
