// The noisy SGD step (kernels/sgd_step.h) on a piece of one tensor, which reads and writes every array once.
#pragma once

#include <noisysgd/kernels/simd/random.inl>

namespace noisysgd::kernels::simd {
namespace {

struct NormSums {
  Double gradient = {}, noise = {};
};

// sum += (the first `count` values)^2, in double precision
NSGD_INLINE void add_squares(Double& sum, Float value, int64_t count) {
  float buffer[lanes];
  store(buffer, value);
  for (int64_t i = count < 0 ? 0 : count; i < lanes; ++i) buffer[i] = 0;
  const Double low = __builtin_convertvector(load<HalfFloat>(buffer), Double);
  const Double high = __builtin_convertvector(load<HalfFloat>(buffer + lanes / 2), Double);
  sum += low * low;
  sum += high * high;
}

// One vector from index i on, of which `count` elements are included in the norms. normal: standard normals, or unused.
template <bool draws, bool norms>
NSGD_INLINE void sgd_vector(const SgdPiece& piece, int64_t i, int64_t count, Float normal, NormSums& sums) {
  const Float gradient_sum = piece.gradient_sum ? load<Float>(piece.gradient_sum + i) : Float{};
  const Float gradient = gradient_sum * piece.inverse_batch;
  Float noise = {};
  if constexpr (draws) {
    Float variance = gradient_sum * gradient_sum * piece.gradient_sum_noise + piece.constant_noise;
    if (piece.second_moment) variance += load<Float>(piece.second_moment + i) * piece.second_moment_noise;
    variance = select(variance < Float{}, Float{}, variance);  // in this order NaN stays NaN
    noise = square_root(variance) * normal;
  }
  if (piece.explicit_noise) noise += load<Float>(piece.explicit_noise + i);
  if (piece.noise_out) return store(piece.noise_out + i, noise);
  if constexpr (norms) {
    add_squares(sums.gradient, gradient, count);
    add_squares(sums.noise, noise, count);
  }

  const Float value = load<Float>(piece.value + i);
  Float direction = gradient + value * piece.weight_decay;
  if (!piece.noise_after_momentum) direction += noise;
  Float update = direction;
  if (piece.velocity) {
    const Float velocity = load<Float>(piece.velocity + i) * piece.momentum + direction;
    store(piece.velocity + i, velocity);
    update = piece.nesterov ? direction + velocity * piece.momentum : velocity;
  }
  if (piece.noise_after_momentum) update += noise;
  store(piece.value + i, value - update * piece.learning_rate);
}

template <bool draws, bool norms>
NSGD_INLINE void sgd_batch(const SgdPiece& piece, int64_t i, int64_t count, NormSums& sums) {
  FloatPair normal = {};
  if constexpr (draws) normal = normals(piece.key, piece.first + i);
  sgd_vector<draws, norms>(piece, i, count < lanes ? count : lanes, normal.first, sums);
  sgd_vector<draws, norms>(piece, i + lanes, count < batch ? count - lanes : lanes, normal.second, sums);
}

// The last, incomplete batch, computed on copies.
template <bool draws, bool norms>
void sgd_tail(const SgdPiece& piece, int64_t i, NormSums& sums) {
  const int64_t count = piece.n - i;
  float buffers[6][batch] = {};
  const auto copy_in = [&](const float* from, float* buffer) -> float* {
    if (!from) return nullptr;
    __builtin_memcpy(buffer, from + i, static_cast<size_t>(count) * sizeof(float));
    return buffer;
  };
  const auto copy_out = [&](float* to, const float* buffer) {
    if (to) __builtin_memcpy(to + i, buffer, static_cast<size_t>(count) * sizeof(float));
  };
  SgdPiece tail = piece;
  tail.first += i;
  tail.n = batch;
  tail.value = copy_in(piece.value, buffers[0]);
  tail.velocity = copy_in(piece.velocity, buffers[1]);
  tail.gradient_sum = copy_in(piece.gradient_sum, buffers[2]);
  tail.second_moment = copy_in(piece.second_moment, buffers[3]);
  tail.explicit_noise = copy_in(piece.explicit_noise, buffers[4]);
  if (piece.noise_out) tail.noise_out = buffers[5];
  sgd_batch<draws, norms>(tail, 0, count, sums);
  if (piece.noise_out) return copy_out(piece.noise_out, buffers[5]);
  copy_out(piece.value, buffers[0]);
  copy_out(piece.velocity, buffers[1]);
}

template <bool draws, bool norms>
void sgd_batches(const SgdPiece& by_reference) {
  const SgdPiece piece = by_reference;  // a copy that no store through its pointers can change
  NormSums sums;
  const int64_t whole = piece.n / batch * batch;
  for (int64_t i = 0; i < whole; i += batch) sgd_batch<draws, norms>(piece, i, batch, sums);
  if (whole < piece.n) sgd_tail<draws, norms>(piece, whole, sums);
  if constexpr (norms) {
    piece.norms[0] = horizontal_sum(sums.gradient);
    piece.norms[1] = horizontal_sum(sums.noise);
  }
}

void sgd_piece(const SgdPiece& piece) {
  if (piece.draws_noise)
    piece.norms ? sgd_batches<true, true>(piece) : sgd_batches<true, false>(piece);
  else
    piece.norms ? sgd_batches<false, true>(piece) : sgd_batches<false, false>(piece);
}

}  // namespace
}  // namespace noisysgd::kernels::simd
