// Arithmetic that matches the CPU backend, with the same bits unless stated otherwise.
#pragma once

#include <cmath>

#include <noisysgd/kernels/cuda/gpu.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels::cuda {

// a b + c, rounded twice; without the intrinsics the compiler would fuse it.
__device__ inline float multiply_then_add(float a, float b, float c) { return __fadd_rn(__fmul_rn(a, b), c); }

struct NormalPair {
  float first, second;
};

// Box-Muller on one pair of words, as kernels/random.h defines it. The angle's quadrant is split off exactly, as an
// integer. Logarithm, sine and cosine are CUDA's, so the last digits may differ from the CPU's.
__device__ inline NormalPair normal_pair(uint32_t radius_word, uint32_t angle_word) {
  const float high = static_cast<float>(radius_word >> 16), low = static_cast<float>(radius_word & 0xffffu);
  const float radius = sqrtf(-2.0f * logf((high * 65536.0f + low + 0.5f) * 0x1p-32f));
  const uint32_t quadrant = (angle_word + 0x20000000u) >> 30;
  const float half_turns = static_cast<float>(static_cast<int32_t>(angle_word - (quadrant << 30))) * 0x1p-31f;
  float s, c;
  sincospif(half_turns, &s, &c);
  const float cosine = (quadrant & 1u) ? s : c, sine = (quadrant & 1u) ? c : s;
  return {((quadrant + 1u) & 2u) ? -radius * cosine : radius * cosine,
          (quadrant & 2u) ? -radius * sine : radius * sine};
}

// Elements 4*block .. 4*block+3 of the stream of standard normals.
__device__ inline void draw_normals(const RandomStream& stream, uint32_t block, float (&normals)[4]) {
  const auto words = random_words(stream, block);
  const NormalPair low = normal_pair(words[0], words[1]), high = normal_pair(words[2], words[3]);
  normals[0] = low.first;
  normals[1] = low.second;
  normals[2] = high.first;
  normals[3] = high.second;
}

}  // namespace noisysgd::kernels::cuda
