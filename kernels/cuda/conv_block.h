// 3x3 convolutions with few channels on values of 16 bits (kernels/conv_block.h). The result is a matrix with a row per
// position and a column per output channel; the product's depth runs over taps and input channels. All weights stay in
// registers: a warp holds 9 taps of every input channel for its 16 output channels. A block computes one item after the
// other from an operand in shared memory, while the next one is copied and made. A warp moves down 16 columns: each row
// that it reads contributes to three rows of the result, in three sets of sums.
//
// An Input (conv_block_operand.h) says what the operand is made of, an Output (conv_block_output.h) what becomes of the
// sums.
#pragma once

#include <noisysgd/kernels/cuda/conv_block_operand.h>
#include <noisysgd/kernels/cuda/conv_block_output.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>

namespace noisysgd::kernels::cuda::conv_block {

inline constexpr int column_tiles = warp_channels / 8;  // products beside each other

template <class T>
using Weights = uint32_t[taps][T::depth_steps][column_tiles][2];
using Sums = float[column_tiles][4];

// The weights [C,3,3,C] of this lane as right operands. Column n of tile j stands for output channel 4 (n / 2) + 2 j +
// n % 2 of the warp's 16, so that a lane's four sums of a position are neighbours. data_gradient: the weights of the
// transposed filter, rotated by 180 degrees.
template <class T, class Format, bool data_gradient>
__device__ void load_weights(const LanePart<T>& part, const float* weight, Weights<T>& weights) {
  const int first_channel = part.channel - part.place * lane_channels;
#pragma unroll
  for (int tap = 0; tap < taps; ++tap)
#pragma unroll
    for (int step = 0; step < T::depth_steps; ++step)
#pragma unroll
      for (int tile = 0; tile < column_tiles; ++tile)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int to = first_channel + part.group / 2 * 4 + tile * 2 + part.group % 2;
          const int from = step * 16 + half * 8 + part.place * 2;
          const auto at = [&](int c) {
            return data_gradient ? weight[(c * taps + taps - 1 - tap) * T::channels + to]
                                 : weight[(to * taps + tap) * T::channels + c];
          };
          weights[tap][step][tile][half] = Format::round({at(from), at(from + 1)});
        }
}

// Adds the products of one row of the operand to the sums of up to three rows of the result: those above it, in it and
// below it. row counts from the row above the warp's first one. first: this lane's ldmatrix address in that row for
// each column of taps.
template <class T, class Format>
__device__ void multiply_row(const uint16_t* operand, const int (&first)[3], int row, const Weights<T>& weights,
                             Sums (&sums)[3]) {
#pragma unroll
  for (int dx = 0; dx < 3; ++dx)
#pragma unroll
    for (int step = 0; step < T::depth_steps; ++step) {
      uint32_t left[4];
      // Other channels of a position differ only in the bits of the chunk.
      ptx::load_matrices(left, operand + (first[dx] ^ (step * 2 * chunk)) + row * T::operand_columns * T::channels);
#pragma unroll
      for (int dy = 0; dy < 3; ++dy) {
        const int result_row = row - dy;
        if (result_row < 0 || result_row >= T::rows) continue;
#pragma unroll
        for (int tile = 0; tile < column_tiles; ++tile)
          Format::multiply(sums[result_row % 3][tile], left, weights[dy * 3 + dx][step][tile]);
      }
    }
}

// The kernels' body. shared: T::shared_bytes(Input::arrays).
template <bool data_gradient, class T, class Input, class Output>
__device__ void convolve(const Items& items, const Input& input, const float* weight, const Output& output,
                         uint16_t* shared) {
  using Format = OperandFormat<typename Input::Element>;
  constexpr int ahead = Input::arrays == 0 ? 1 : T::raw_stages, raw_elements = Input::arrays * T::raw_elements;
  uint16_t* const operands = shared + T::raw_stages * raw_elements;                        // two of them
  auto* const shares = reinterpret_cast<WarpShares*>(operands + 2 * T::operand_elements);  // of two items
  const LanePart<T> part;
  for (int i = static_cast<int>(threadIdx.x) * chunk; i < 2 * T::operand_elements; i += threads * chunk)
    *reinterpret_cast<uint4*>(operands + i) = {0, 0, 0, 0};
  Weights<T> weights;
  load_weights<T, Format, data_gradient>(part, weight, weights);
  // Row lane % 16 of the left operand, and the chunk of channels, that this lane names to ldmatrix.
  const int named = part.column + part.lane % product_rows, named_image = T::images == 2 ? named / T::size : 0;
  int first[3];
#pragma unroll
  for (int dx = 0; dx < 3; ++dx)
    first[dx] = place_of<T>(part.row, named + 2 * named_image + dx, part.lane / product_rows);
  __syncthreads();  // the operands are zero

  const auto begin = static_cast<int32_t>(int64_t{blockIdx.x} * items.count / gridDim.x);
  const auto end = static_cast<int32_t>(int64_t{blockIdx.x + 1} * items.count / gridDim.x);
#pragma unroll
  for (int i = 0; i < ahead; ++i) {
    if (begin + i < end) load_item<T>(input, Item<T>(items, begin + i), shared + i * raw_elements, operands);
    __pipeline_commit();
  }
#pragma unroll 1
  for (int32_t i = begin; i < end; ++i) {
    const int turn = (i - begin) % 2;
    const Item<T> item(items, i);
    uint16_t* const operand = operands + turn * T::operand_elements;
    uint16_t* const raw = shared + (T::raw_stages == 2 ? turn * raw_elements : 0);
    __pipeline_wait_prior(ahead - 1);
    if constexpr (Input::arrays > 0) make_operand<T>(input, item, raw, operand);
    __syncthreads();  // the operand is complete, and no thread still reads the previous one
    if (i + ahead < end)
      load_item<T>(input, Item<T>(items, i + ahead), raw, operands + (turn ^ 1) * T::operand_elements);
    __pipeline_commit();
    if (i > begin) output.write_shares(Item<T>(items, i - 1), shares[turn ^ 1]);

    typename Output::Lane lane(output, part, item);
    Sums sums[3];
#pragma unroll
    for (int row = 0; row < T::rows + 2; ++row) {
#pragma unroll
      for (int tile = 0; tile < column_tiles; ++tile)
#pragma unroll
        for (int s = 0; s < 4; ++s) sums[row % 3][tile][s] = 0;
      const int done = row - 2, loaded = done + Output::rows_ahead;
      if (loaded >= 0 && loaded < T::rows) lane.load(loaded);
      multiply_row<T, Format>(operand, first, row, weights, sums);
      if (done < 0) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        FloatVector<lane_channels> values;
#pragma unroll
        for (int c = 0; c < lane_channels; ++c) values[c] = sums[done % 3][c / 2][half * 2 + c % 2];
        lane.finish(done, half, values);
      }
    }
    lane.share(shares[turn]);
  }
  __syncthreads();
  output.write_shares(Item<T>(items, end - 1), shares[(end - 1 - begin) % 2]);
}

// Calls body(tiling) with the tiling of the shape, if it has one. Returns whether it has.
template <class Body>
bool with_tiling(const ConvBlockShape& shape, const Body& body) {
  const auto try_tiling = [&]<class T>(T tiling) {
    if (shape.conv.in_channels != T::channels || shape.conv.height != T::size) return false;
    body(tiling);
    return true;
  };
  return try_tiling(Stage1()) || try_tiling(Stage2()) || try_tiling(Stage3());
}

inline Items items_of(const ConvBlockShape& shape) {
  return {static_cast<int32_t>(shape.groups() * shape.group_items()), static_cast<int32_t>(shape.group),
          FastDivide(shape.group_items())};
}

template <class T>
unsigned grid_of(Queue& queue, const Items& items) {
  return static_cast<unsigned>(std::min(items.count, T::blocks * queue.cuda().multiprocessors()));
}

}  // namespace noisysgd::kernels::cuda::conv_block
