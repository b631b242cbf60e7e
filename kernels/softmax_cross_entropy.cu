#include <noisysgd/kernels/softmax_cross_entropy.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/last_block.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int rows_per_block = block_threads / warp_lanes;

struct RowSums {  // LossSums without initialisers, as shared memory needs it
  double loss, weighted_loss;
  int64_t correct;
  int64_t bad_label;  // 1 + the first sample whose label is no class; 0: none

  __device__ void add(const RowSums& other) {
    loss += other.loss;
    weighted_loss += other.weighted_loss;
    correct += other.correct;
    if (bad_label == 0) bad_label = other.bad_label;
  }
};

struct Maximum {
  float value;
  int64_t index;
};

// The first maximum of a row, the same in every lane: with NaN in the row, lanes that disagreed would each leave their
// own NaN out of the sums.
__device__ Maximum row_maximum(const float* z, int64_t classes, int lane) {
  Maximum best{-INFINITY, classes};
  for (int64_t k = lane; k < classes; k += warp_lanes)
    if (z[k] > best.value || best.index == classes) best = {z[k], k};
  for (int distance = warp_lanes / 2; distance > 0; distance /= 2) {
    const Maximum other{__shfl_xor_sync(full_mask, best.value, distance),
                        __shfl_xor_sync(full_mask, best.index, distance)};
    if (other.index == classes) continue;  // a lane without a class
    if (best.index == classes || other.value > best.value || (other.value == best.value && other.index < best.index))
      best = other;
  }
  return {__shfl_sync(full_mask, best.value, 0), __shfl_sync(full_mask, best.index, 0)};
}

// One row by one warp, with the cancellation-free formulas of softmax_cross_entropy.cpp.
__device__ RowSums warp_row(const float* z, int64_t classes, int64_t label, float weight, float smoothing,
                            float* grad) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const Maximum maximum = row_maximum(z, classes, lane);
  const float label_shifted = z[label] - maximum.value, label_exp = expf(label_shifted);
  __syncwarp();  // grad may be z: every lane has read the label's logit by now
  double tail = 0, shifted_sum = 0;
  for (int64_t k = lane; k < classes; k += warp_lanes) {
    const float shifted = z[k] - maximum.value, e = expf(shifted);
    shifted_sum += shifted;
    if (k != maximum.index) tail += e;
    if (grad) grad[k] = e;
  }
  tail = sum_lanes(tail);
  shifted_sum = sum_lanes(shifted_sum);
  const double share = smoothing / static_cast<double>(classes);
  double loss = log1p(tail) - (1.0 - smoothing) * label_shifted;
  if (smoothing != 0) loss -= share * shifted_sum;
  if (grad) {
    const double sum = 1.0 + tail, others = label == maximum.index ? tail : sum - label_exp;
    for (int64_t k = lane; k < classes; k += warp_lanes)
      grad[k] = weight * static_cast<float>(k == label ? smoothing - share - others / sum : grad[k] / sum - share);
  }
  return {loss, weight * loss, label == maximum.index ? 1 : 0, 0};
}

// Adds the sums of all blocks to *sums: every thread sums a contiguous share, and thread 0 sums the shares.
__device__ void add_blocks(int64_t count, const RowSums* row_sums, int64_t samples, LossSums* sums) {
  GPU_SHARED(RowSums, shares, [block_threads]);
  RowSums share{};
  for (int64_t i = count * threadIdx.x / block_threads; i < count * (threadIdx.x + 1) / block_threads; ++i)
    share.add(row_sums[i]);
  shares[threadIdx.x] = share;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < block_threads; ++i) share.add(shares[i]);
  const LossSums part{share.loss, share.weighted_loss, share.correct, samples, 0, share.bad_label};
  add_to(*sums, part);
}

// Rows of a block: row_sums[block] is their sum in the order of the samples. The last block adds them to *sums, unless
// it is null.
__global__ void __launch_bounds__(block_threads)
    softmax_rows_kernel(int64_t samples, int64_t classes, const float* logits, const int32_t* labels,
                        const float* sample_weights, float smoothing, float* grad_logits, float* sample_losses,
                        RowSums* row_sums, unsigned* counter, LossSums* sums) {
  GPU_SHARED(RowSums, rows, [rows_per_block]);
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes, lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int64_t n = int64_t{blockIdx.x} * rows_per_block + warp;
  RowSums row{};
  if (n < samples) {
    const int64_t label = labels[n];
    if (label < 0 || label >= classes) {
      row.bad_label = 1 + n;
    } else {
      row = warp_row(logits + n * classes, classes, label, sample_weights ? sample_weights[n] : 1.0f, smoothing,
                     grad_logits ? grad_logits + n * classes : nullptr);
      if (sample_losses && lane == 0) sample_losses[n] = static_cast<float>(row.loss);
    }
  }
  if (!sums) return;
  if (lane == 0) rows[warp] = row;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < rows_per_block; ++i) row.add(rows[i]);
    row_sums[blockIdx.x] = row;
  }
  if (is_last_block(counter, gridDim.x)) add_blocks(gridDim.x, row_sums, samples, sums);
}

__global__ void __launch_bounds__(block_threads)
    sample_labels_kernel(int64_t samples, int64_t classes, const float* logits, RandomStream stream, uint64_t offset,
                         int32_t* labels) {
  grid_stride(samples, [&](int64_t n) {
    const float* z = logits + n * classes;
    float shift = z[0];
    for (int64_t k = 1; k < classes; ++k) shift = shift < z[k] ? z[k] : shift;
    double sum = 0;
    for (int64_t k = 0; k < classes; ++k) sum += exp(double{z[k]} - shift);
    // The first class whose cumulative probability exceeds u.
    const double threshold = uniform_from_word(random_word(stream, offset + static_cast<uint64_t>(n))) * sum;
    double cumulative = 0;
    int64_t label = 0, last_possible = 0;
    for (; label < classes; ++label) {
      const double mass = exp(double{z[label]} - shift);
      cumulative += mass;
      if (mass > 0) last_possible = label;
      if (cumulative > threshold) break;
    }
    labels[n] = static_cast<int32_t>(label < classes ? label : last_possible);
  });
}

}  // namespace

void softmax_cross_entropy(Queue& queue, const LabelledRows& rows, float label_smoothing, const float* logits,
                           float* grad_logits, float* sample_losses, LossSums* sums) {
  const int64_t samples = rows.samples, classes = rows.classes;
  if (samples == 0) return;
  NSGD_CHECK(classes > 0, "softmax cross-entropy: {} classes, expected at least 1", classes);
  const int64_t blocks = divide_up(samples, rows_per_block);
  Scratch scratch(queue);
  RowSums* const row_sums = scratch.take<RowSums>(blocks);
  launch(queue, softmax_rows_kernel, static_cast<unsigned>(blocks), block_threads, 0, samples, classes, logits,
         rows.labels, rows.weights, label_smoothing, grad_logits, sample_losses, row_sums, queue.cuda().counters(1),
         sums);
}

void sample_labels(Queue& queue, int64_t samples, int64_t classes, const float* logits, const RandomStream& stream,
                   uint64_t offset, int32_t* labels) {
  NSGD_CHECK(samples == 0 || classes > 0, "sample_labels: {} classes, expected at least 1", classes);
  if (samples > 0)
    launch(queue, sample_labels_kernel, grid_size(samples), block_threads, 0, samples, classes, logits, stream, offset,
           labels);
}

}  // namespace noisysgd::kernels::cuda
