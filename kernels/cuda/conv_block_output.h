// What the conv_block kernels make of a result. Sums over an item are formed per lane, then per warp, and the warps'
// shares are added in their order by the first threads of the block while it computes the next item.
#pragma once

#include <noisysgd/kernels/cuda/conv_block_tiling.h>
#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>

namespace noisysgd::kernels::cuda::conv_block {

using LaneValues = FloatVector<lane_channels>;

// Four numbers of each of a warp's channels.
using WarpShares = float[warps][warp_channels][4];

template <class Element>
__device__ LaneValues unpacked(const uint2& pairs) {
  const uint32_t both[2] = {pairs.x, pairs.y};
  LaneValues values;
#pragma unroll
  for (int c = 0; c < lane_channels; ++c)
    values[c] = as_float(Element{static_cast<uint16_t>(both[c / 2] >> (c % 2 * 16))});
  return values;
}

template <class Element>
__device__ uint2 packed(const LaneValues& values) {
  using Format = OperandFormat<Element>;
  return {Format::round({values[0], values[1]}), Format::round({values[2], values[3]})};
}

// Calls body(share) for the shares of channel c, one per warp, in the order of the warps.
template <class T, class Body>
__device__ void for_each_share(const WarpShares& shares, int c, const Body& body) {
  for (int warp = c / warp_channels; warp < warps; warp += T::channel_groups) body(shares[warp][c % warp_channels]);
}

// Stores y; mean and sum of squared deviations per item and channel, of the stored values. A warp takes deviations from
// its first value, so that a large mean costs no digits.
template <class T>
struct StatisticsOutput {
  static constexpr int rows_ahead = 0;  // nothing is loaded
  Half* y;
  double *mean, *m2;  // [items,C]; null: not wanted

  class Lane {
   public:
    __device__ Lane(const StatisticsOutput& output, const LanePart<T>& part, const Item<T>& item)
        : to_(output.y + part.offset(item)), part_(part), full_(item.full) {}
    __device__ void load(int) {}
    __device__ void finish(int row, int half, const LaneValues& values) {
      const bool exists = full_ || LanePart<T>::image(half) == 0;
      const uint2 pairs = packed<Half>(values);
      if (exists) *reinterpret_cast<uint2*>(to_ + LanePart<T>::distance(row, half)) = pairs;
      const LaneValues stored = unpacked<Half>(pairs);
      if (row == 0 && half == 0)
#pragma unroll
        for (int c = 0; c < lane_channels; ++c) pilot_[c] = __shfl_sync(full_mask, stored[c], part_.place);
#pragma unroll
      for (int c = 0; c < lane_channels; ++c) {
        const float deviation = exists ? stored[c] - pilot_[c] : 0.0f;
        sums_[c] += deviation;
        squares_[c] += deviation * deviation;
      }
    }
    __device__ void share(WarpShares& shares) {
#pragma unroll
      for (int c = 0; c < lane_channels; ++c) {
        const float sum = sum_lanes(sums_[c], 4), square = sum_lanes(squares_[c], 4);
        if (part_.group > 0) continue;
        float(&to)[4] = shares[part_.warp][part_.place * lane_channels + c];
        to[0] = pilot_[c], to[1] = sum, to[2] = square;
      }
    }

   private:
    Half* to_;
    const LanePart<T>& part_;
    bool full_;
    LaneValues pilot_{}, sums_{}, squares_{};
  };

  __device__ void write_shares(const Item<T>& item, const WarpShares& shares) const {
    const int c = static_cast<int>(threadIdx.x);
    if (!mean || c >= T::channels) return;
    constexpr int all = T::rows * product_rows, parts = warps / T::channel_groups;
    const double count = item.full ? all : all / 2, weight = item.full ? 1.0 / all : 2.0 / all;  // of a warp
    double sum = 0;
    for_each_share<T>(shares, c, [&](const float(&share)[4]) { sum += share[0] + share[1] * weight; });
    const double merged = sum / parts;
    double squares = 0;
    for_each_share<T>(shares, c, [&](const float(&share)[4]) {
      const double deviation = share[1] * weight, apart = share[0] + deviation - merged;
      squares += fmax(0.0, share[2] - share[1] * deviation) + count * apart * apart;
    });
    mean[item.index * T::channels + c] = merged;
    m2[item.index * T::channels + c] = squares;
  }
};

// Masks the gradient of a ReLU's input, stores it, and sums it per sample for the batch norm before. of_sum: the ReLU
// is one of a sum, whose gradient has a second part.
template <class T, bool of_sum>
struct MaskedOutput {
  static constexpr int rows_ahead = T::channels == 64 ? 0 : 1;  // registers are scarce where the weights need most
  BFloat16* grad_x;
  const Half *x, *sum;
  const BFloat16* other;
  const float *mean, *factor, *term;  // [groups,C]
  float* sums;                        // [N,bands,C,2]

  class Lane {
   public:
    __device__ Lane(const MaskedOutput& output, const LanePart<T>& part, const Item<T>& item)
        : output_(output), part_(part), offset_(part.offset(item)), full_(item.full) {
      const int32_t i = item.group * T::channels + part.channel;
      mean_ = load_vector<lane_channels>(output.mean + i);
      if constexpr (of_sum) return;
      factor_ = load_vector<lane_channels>(output.factor + i);
      term_ = load_vector<lane_channels>(output.term + i);
    }
    __device__ void load(int row) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (!exists(half)) continue;
        Beside& beside = beside_[row % (rows_ahead + 1)][half];
        const int32_t i = offset_ + LanePart<T>::distance(row, half);
        beside.x = *reinterpret_cast<const uint2*>(output_.x + i);
        if constexpr (!of_sum) continue;
        beside.sum = *reinterpret_cast<const uint2*>(output_.sum + i);
        beside.other = *reinterpret_cast<const uint2*>(output_.other + i);
      }
    }
    __device__ void finish(int row, int half, LaneValues values) {
      if (!exists(half)) return;
      const Beside& beside = beside_[row % (rows_ahead + 1)][half];
      const LaneValues xs = unpacked<Half>(beside.x);
      if constexpr (of_sum) {
        const LaneValues signs = unpacked<Half>(beside.sum), others = unpacked<BFloat16>(beside.other);
#pragma unroll
        for (int c = 0; c < lane_channels; ++c) values[c] = signs[c] > 0 ? values[c] + others[c] : 0.0f;
      } else {
#pragma unroll
        for (int c = 0; c < lane_channels; ++c)
          if (!(fmaf(xs[c], factor_[c], term_[c]) > 0)) values[c] = 0;
      }
      const uint2 pairs = packed<BFloat16>(values);
      *reinterpret_cast<uint2*>(output_.grad_x + offset_ + LanePart<T>::distance(row, half)) = pairs;
      const LaneValues stored = unpacked<BFloat16>(pairs);
#pragma unroll
      for (int c = 0; c < lane_channels; ++c) {
        LaneValues(&totals)[2] = totals_[LanePart<T>::image(half)];
        totals[0][c] += stored[c];
        totals[1][c] += stored[c] * (xs[c] - mean_[c]);
      }
    }
    __device__ void share(WarpShares& shares) {
#pragma unroll
      for (int image = 0; image < T::images; ++image)
#pragma unroll
        for (int term = 0; term < 2; ++term)
#pragma unroll
          for (int c = 0; c < lane_channels; ++c) {
            const float sum = sum_lanes(totals_[image][term][c], 4);
            if (part_.group == 0) shares[part_.warp][part_.place * lane_channels + c][image * 2 + term] = sum;
          }
    }

   private:
    struct Beside {
      uint2 x, sum, other;
    };
    __device__ bool exists(int half) const { return full_ || LanePart<T>::image(half) == 0; }

    const MaskedOutput& output_;
    const LanePart<T>& part_;
    int32_t offset_;
    bool full_;
    LaneValues mean_, factor_, term_;
    Beside beside_[rows_ahead + 1][2];
    LaneValues totals_[T::images][2] = {};
  };

  __device__ void write_shares(const Item<T>& item, const WarpShares& shares) const {
    const int c = static_cast<int>(threadIdx.x);
    if (c >= T::channels) return;
    for (int image = 0; image < T::images; ++image) {
      if (!item.has(image)) continue;
      float totals[2] = {};
      for_each_share<T>(
          shares, c, [&](const float(&share)[4]) { totals[0] += share[image * 2], totals[1] += share[image * 2 + 1]; });
      float* const to = sums + (((item.sample + image) * T::bands + item.band) * T::channels + c) * 2;
      to[0] = totals[0], to[1] = totals[1];
    }
  }
};

}  // namespace noisysgd::kernels::cuda::conv_block
