#include "kernels/sgd_step.h"

#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pieces.h"
#include "kernels/cuda/reduce.h"

namespace noisysgd::kernels::cuda {
namespace {

// One launch takes many tensors: their table is a kernel parameter, and every block finds its tensor in it. A block
// takes one piece of a tensor; norms are summed piece by piece, in order.
constexpr int elements_per_thread = 8;
constexpr int64_t piece_size = int64_t{block_threads} * elements_per_thread;
constexpr int max_segments = 336;  // kernel parameters end at 32764 bytes

struct SegmentTable {
  int count = 0;
  int64_t end[max_segments] = {};  // first piece behind the segment
  SgdSegment segments[max_segments];

  bool full() const { return count == max_segments; }
  int64_t pieces() const { return count == 0 ? 0 : end[count - 1]; }
  void add(const SgdSegment& segment) {
    end[count] = pieces() + divide_up(segment.n, piece_size);
    segments[count++] = segment;
  }
};
static_assert(sizeof(SegmentTable) + sizeof(SgdHyperparameters) + sizeof(double*) <= 32'764, "too many parameters");

// Four consecutive elements from 4*block on, as one access where all of them exist and the address allows it.
__device__ float4 load4(const float* from, int64_t n, int64_t i) {
  if (i + 4 <= n && reinterpret_cast<uintptr_t>(from) % sizeof(float4) == 0)
    return *reinterpret_cast<const float4*>(from + i);
  return {from[i], i + 1 < n ? from[i + 1] : 0, i + 2 < n ? from[i + 2] : 0, i + 3 < n ? from[i + 3] : 0};
}

__device__ void store4(float* to, int64_t n, int64_t i, const float4& values) {
  if (i + 4 <= n && reinterpret_cast<uintptr_t>(to) % sizeof(float4) == 0) {
    *reinterpret_cast<float4*>(to + i) = values;
    return;
  }
  to[i] = values.x;
  if (i + 1 < n) to[i + 1] = values.y;
  if (i + 2 < n) to[i + 2] = values.z;
  if (i + 3 < n) to[i + 3] = values.w;
}

struct Four {
  float at[4];
};

__device__ Four load_or_zero(const float* from, int64_t n, int64_t i) {
  if (!from) return {};
  const float4 values = load4(from, n, i);
  return {{values.x, values.y, values.z, values.w}};
}

__device__ void store(float* to, int64_t n, int64_t i, const Four& v) {
  store4(to, n, i, {v.at[0], v.at[1], v.at[2], v.at[3]});
}

// The segment's own coefficients times the factors that the device has found for them.
__device__ NoiseCoefficients coefficients_of(const SgdSegment& segment) {
  NoiseCoefficients c = segment.noise;
  for (const float* factor : {segment.variance_factor, segment.match_factor}) {
    if (!factor) continue;
    c.constant *= *factor;
    c.second_moment *= *factor;
    c.gradient_sum *= *factor;
  }
  return c;
}

// eps of elements i .. i+3, from the Philox block i/4 of the tensor's stream
__device__ Four noise_of(const SgdSegment& segment, const SgdHyperparameters& h, int64_t i, const Four& gradient_sum) {
  Four noise = load_or_zero(segment.explicit_noise, segment.n, i);
  const NoiseCoefficients c = coefficients_of(segment);
  if (c.constant == 0 && c.second_moment == 0 && c.gradient_sum == 0) return noise;
  const Four second_moment = c.second_moment != 0 ? load_or_zero(segment.second_moment, segment.n, i) : Four{};
  const RandomStream stream{h.seed, h.step, segment.tensor, RandomPurpose::noise};
  float normals[4];
  draw_normals(stream, static_cast<uint32_t>(i / 4), normals);
  for (int k = 0; k < 4; ++k) {
    float variance = gradient_sum.at[k] * gradient_sum.at[k] * c.gradient_sum + c.constant;
    if (c.second_moment != 0) variance += second_moment.at[k] * c.second_moment;
    if (variance < 0) variance = 0;  // NaN stays NaN
    noise.at[k] += sqrtf(variance) * normals[k];
  }
  return noise;
}

struct NormSums {
  double gradient = 0, noise = 0;
};

__device__ void step_four(const SgdSegment& segment, const SgdHyperparameters& h, int64_t i, NormSums& norms) {
  const Four gradient_sum = load_or_zero(segment.gradient_sum, segment.n, i);
  const Four noise = noise_of(segment, h, i, gradient_sum);
  Four value = load_or_zero(segment.value, segment.n, i), velocity = load_or_zero(segment.velocity, segment.n, i);
  const float inverse_batch = h.inverse_batch * static_cast<float>(h.gradient_factor.read());
  const float learning_rate = h.learning_rate.read();
  for (int k = 0; k < 4; ++k) {
    const float gradient = gradient_sum.at[k] * inverse_batch;
    if (i + k < segment.n) {
      norms.gradient += double{gradient} * gradient;
      norms.noise += double{noise.at[k]} * noise.at[k];
    }
    float direction = gradient + value.at[k] * segment.weight_decay;
    if (!h.noise_after_momentum) direction += noise.at[k];
    float update = direction;
    if (segment.velocity) {
      velocity.at[k] = velocity.at[k] * h.momentum + direction;
      update = h.nesterov ? direction + velocity.at[k] * h.momentum : velocity.at[k];
    }
    if (h.noise_after_momentum) update += noise.at[k];
    value.at[k] -= update * learning_rate;
  }
  store(segment.value, segment.n, i, value);
  if (segment.velocity) store(segment.velocity, segment.n, i, velocity);
}

// norms [pieces,2]: ||g||^2 and ||eps||^2 of each piece, or null
__global__ void __launch_bounds__(block_threads)
    sgd_step_kernel(const __grid_constant__ SegmentTable table, SgdHyperparameters hyperparameters, double* norms) {
  if (hyperparameters.halted.read() != 0) return;
  const int64_t piece = blockIdx.x;
  const PiecePlace place = place_of_piece(table.end, table.count, piece, piece_size);
  const SgdSegment& segment = table.segments[place.array];
  NormSums sums;
  for (int step = 0; step < elements_per_thread / 4; ++step) {
    const int64_t i = place.first + 4 * (int64_t{step} * block_threads + threadIdx.x);
    if (i < segment.n) step_four(segment, hyperparameters, i, sums);
  }
  if (!norms) return;
  const double gradient = sum_block<block_threads>(sums.gradient), noise = sum_block<block_threads>(sums.noise);
  if (threadIdx.x != 0) return;
  norms[2 * piece] = gradient;
  norms[2 * piece + 1] = noise;
}

// total += the sum of all pieces' norms, by one block
__global__ void __launch_bounds__(block_threads)
    sgd_norms_kernel(int64_t pieces, const double* norms, SgdHyperparameters hyperparameters, SgdNorms* total) {
  if (hyperparameters.halted.read() != 0) return;
  double gradient = 0, noise = 0;
  for (int64_t piece = threadIdx.x; piece < pieces; piece += block_threads) {
    gradient += norms[2 * piece];
    noise += norms[2 * piece + 1];
  }
  gradient = sum_block<block_threads>(gradient);
  noise = sum_block<block_threads>(noise);
  if (threadIdx.x != 0) return;
  const double factor = hyperparameters.gradient_factor.read();
  total->gradient_squared += gradient / (factor * factor);
  total->noise_squared += noise;
}

__global__ void __launch_bounds__(block_threads)
    draw_noise_kernel(SgdSegment segment, SgdHyperparameters hyperparameters, float* noise) {
  grid_stride(divide_up(segment.n, 4), [&](int64_t block) {
    const int64_t i = 4 * block;
    const Four gradient_sum = load_or_zero(segment.gradient_sum, segment.n, i);
    store(noise, segment.n, i, noise_of(segment, hyperparameters, i, gradient_sum));
  });
}

}  // namespace

void sgd_step(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
              SgdNorms* norms) {
  int64_t total = 0;
  for (const SgdSegment& segment : segments) {
    check(segment, hyperparameters);
    NSGD_CHECK(segment.n == 0 || (segment.value && segment.gradient_sum),
               "sgd_step: tensor {} has no value or no gradient", segment.tensor);
    total += divide_up(segment.n, piece_size);
  }
  if (total == 0) return;
  double* const piece_norms = norms ? static_cast<double*>(queue.workspace(sizeof(double) * 2 * total)) : nullptr;

  SegmentTable table;
  int64_t done = 0;
  const auto step = [&] {
    if (table.pieces() == 0) return;
    launch(queue, sgd_step_kernel, static_cast<unsigned>(table.pieces()), block_threads, 0, table, hyperparameters,
           norms ? piece_norms + 2 * done : nullptr);
    done += table.pieces();
    table = {};
  };
  for (const SgdSegment& segment : segments) {
    if (segment.n == 0) continue;
    table.add(segment);
    if (table.full()) step();
  }
  step();

  if (norms) launch(queue, sgd_norms_kernel, 1u, block_threads, 0, total, piece_norms, hyperparameters, norms);
}

void draw_noise(Queue& queue, const SgdSegment& segment, const SgdHyperparameters& hyperparameters, float* noise) {
  SgdHyperparameters without_momentum = hyperparameters;
  without_momentum.momentum = 0;
  check(segment, without_momentum);
  NSGD_CHECK(segment.n == 0 || segment.gradient_sum || segment.noise.gradient_sum == 0,
             "draw_noise: tensor {} has noise of variance {} S^2 but no gradient", segment.tensor,
             segment.noise.gradient_sum);
  if (segment.n > 0)
    launch(queue, draw_noise_kernel, grid_size(divide_up(segment.n, 4)), block_threads, 0, segment, hyperparameters,
           noise);
}

}  // namespace noisysgd::kernels::cuda
