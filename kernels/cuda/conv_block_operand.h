// The left operand of the conv_block kernels. Threads copy chunks of the arrays that it is made of to shared memory,
// ahead of their use; each thread then makes the operand of the chunks that it has copied, and no other thread sees the
// copies. An input that is an operand already is copied to its place directly.
#pragma once

#include <type_traits>

#include <noisysgd/kernels/cuda/conv_block_tiling.h>
#include <noisysgd/kernels/cuda/element.h>

namespace noisysgd::kernels::cuda::conv_block {

using ChunkValues = FloatVector<chunk>;

__device__ inline ChunkValues load_constants(const float* from) { return load_values<chunk>(from); }

// The input is x itself.
struct PlainInput {
  using Element = Half;
  static constexpr int arrays = 0;  // that the operand is made of
  const Half* x;
};

// relu(x factor + term), or relu(x factor + term + addend)
template <bool with_addend>
struct NormalisedInput {
  using Element = Half;
  static constexpr int arrays = with_addend ? 2 : 1;
  const Half *x, *addend;
  const float *factor, *term;  // [groups,C]
  Half* made;

  struct Constants {
    ChunkValues factor, term;
  };
  __device__ Constants constants(int32_t i) const { return {load_constants(factor + i), load_constants(term + i)}; }
  __device__ const void* array(int i) const { return i == 0 ? x : addend; }
  __device__ static ChunkValues make(const Constants& constants, const uint16_t* first, const uint16_t* second) {
    const ChunkValues xs = load_elements<chunk>(reinterpret_cast<const Half*>(first));
    ChunkValues addends{}, made;
    if constexpr (with_addend) addends = load_elements<chunk>(reinterpret_cast<const Half*>(second));
#pragma unroll
    for (int v = 0; v < chunk; ++v) {
      made[v] = fmaf(xs[v], constants.factor[v], constants.term[v]);
      if constexpr (with_addend) made[v] += addends[v];
    }
    return made;
  }
  __device__ static uint32_t round(float low, float high) { return ptx::relu_to_f16x2(low, high); }
};

// grad factor_grad + y factor_y + term
struct GradientInput {
  using Element = BFloat16;
  static constexpr int arrays = 2;
  const BFloat16* grad;
  const Half* y;
  const float *factor_grad, *factor_y, *term;  // [groups,C]
  BFloat16* made;

  struct Constants {
    ChunkValues factor_grad, factor_y, term;
  };
  __device__ Constants constants(int32_t i) const {
    return {load_constants(factor_grad + i), load_constants(factor_y + i), load_constants(term + i)};
  }
  __device__ const void* array(int i) const { return i == 0 ? static_cast<const void*>(grad) : y; }
  __device__ static ChunkValues make(const Constants& constants, const uint16_t* first, const uint16_t* second) {
    const ChunkValues grads = load_elements<chunk>(reinterpret_cast<const BFloat16*>(first));
    const ChunkValues ys = load_elements<chunk>(reinterpret_cast<const Half*>(second));
    ChunkValues made;
#pragma unroll
    for (int v = 0; v < chunk; ++v)
      made[v] = fmaf(grads[v], constants.factor_grad[v], fmaf(ys[v], constants.factor_y[v], constants.term[v]));
    return made;
  }
  __device__ static uint32_t round(float low, float high) { return ptx::round_to_bf16x2(low, high); }
};

// The chunk of an item that this thread copies in its i-th turn.
template <class T>
struct ChunkPlace {
  int index, row, image, column, c;  // row: of the band, -1 and T::band are its halo; c: chunk of the position

  __device__ explicit ChunkPlace(int i) {
    index = i * threads + static_cast<int>(threadIdx.x);
    c = static_cast<int>(threadIdx.x) % T::position_chunks;
    const int position = index / T::position_chunks;
    row = position / (T::size * T::images) - T::halo;
    image = position / T::size % T::images;
    column = position % T::size;
  }
  __device__ bool exists() const { return T::chunks % threads == 0 || index < T::chunks; }
  __device__ bool inside(const Item<T>& item) const {  // the image and the batch
    const int image_row = item.band * T::band + row;
    return (T::halo == 0 || (image_row >= 0 && image_row < T::size)) && item.has(image);
  }
  __device__ bool in_halo() const { return T::halo > 0 && (row < 0 || row >= T::band); }
  __device__ int32_t source(const Item<T>& item) const { return item.offset(image, row, column) + c * chunk; }
  __device__ int target() const { return place_of<T>(row + 1, image * (T::size + 2) + column + 1, c); }
};

// Starts this thread's copies of the item, to the operand or to the raw stage, array after array. What is outside
// becomes zero.
template <class T, class Input>
__device__ void load_item(const Input& input, const Item<T>& item, uint16_t* raw, uint16_t* operand) {
#pragma unroll
  for (int i = 0; i < T::thread_chunks; ++i) {
    const ChunkPlace<T> place(i);
    if (!place.exists()) continue;
    const bool inside = place.inside(item);
    const int32_t from = inside ? place.source(item) : 0;
    const auto copy = [&](uint16_t* to, const void* array) {
      __pipeline_memcpy_async(to, static_cast<const uint16_t*>(array) + from, 16, inside ? 0 : 16);
    };
    if constexpr (Input::arrays == 0)
      copy(operand + place.target(), input.x);
    else
#pragma unroll
      for (int a = 0; a < Input::arrays; ++a) copy(raw + a * T::raw_elements + place.index * chunk, input.array(a));
  }
}

// Makes the operand of what this thread has copied, and writes it to memory too if it is wanted there. The zeros beside
// an image are not part of it, so they stay zero under an affine map.
template <class T, class Input>
__device__ void make_operand(const Input& input, const Item<T>& item, const uint16_t* raw, uint16_t* operand) {
  const auto constants = input.constants(item.group * T::channels + ChunkPlace<T>(0).c * chunk);
#pragma unroll
  for (int i = 0; i < T::thread_chunks; ++i) {
    const ChunkPlace<T> place(i);
    if (!place.exists()) continue;
    const bool inside = place.inside(item);
    const uint16_t* const from = raw + place.index * chunk;
    const ChunkValues values = Input::make(constants, from, from + T::raw_elements);
    uint4 made{0, 0, 0, 0};
    if (inside)
      made = {Input::round(values[0], values[1]), Input::round(values[2], values[3]),
              Input::round(values[4], values[5]), Input::round(values[6], values[7])};
    *reinterpret_cast<uint4*>(operand + place.target()) = made;
    if (input.made && inside && !place.in_halo()) *reinterpret_cast<uint4*>(input.made + place.source(item)) = made;
  }
}

}  // namespace noisysgd::kernels::cuda::conv_block
