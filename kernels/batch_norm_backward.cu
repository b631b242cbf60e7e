// The gradients of batch_norm.h. Sums over samples and their squares are formed in blocks of samples. The last block of
// a group to finish merges the group's blocks, and the last such block of all groups merges the groups, each in a fixed
// order.
#include <noisysgd/kernels/cuda/batch_norm_merge.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int64_t most_blocks = 1024;          // of a group, whose sums one block merges
constexpr int64_t sample_chunk = 4 * 4 * 256;  // elements from which on a whole block, not a warp, sums a sample

// The balanced partition of [0,total) into `parts`: part i begins here and ends where part i+1 begins.
__device__ int64_t part_begin(int64_t i, int64_t parts, int64_t total) { return i * total / parts; }

// The activations and gradients of BatchNormBackward, [M,T,C], and its ReLU.
template <class Types>
struct Activations {
  using Value = typename Types::Value;
  using Gradient = typename Types::Gradient;
  const Value *x, *relu_output;
  const Gradient *grad_y, *other_grad_y;
  Gradient *grad_addend, *grad_x;
  const float* relu_beta;

  explicit Activations(const BatchNormBackward& of)
      : x(array<Value>(of.x)),
        relu_output(array<Value>(of.relu_output)),
        grad_y(array<Gradient>(of.grad_y)),
        other_grad_y(array<Gradient>(of.other_grad_y)),
        grad_addend(array<Gradient>(of.grad_addend)),
        grad_x(array<Gradient>(of.grad_x)),
        relu_beta(of.relu_beta) {}
  template <class T>
  static auto array(const auto& values) {
    return array_of<T>("batch_norm_backward", values);
  }
};

// The elements that the first pass reads at `vector` neighbouring indices. writes: there is a grad_addend; without it
// there is neither a second gradient nor a saved output.
template <class Types, int vector, bool writes>
struct Loaded {
  Elements<typename Types::Value, vector> inputs, outputs;
  Elements<typename Types::Gradient, vector> grads, others;

  __device__ void load(const Activations<Types>& arrays, int64_t i) {
    inputs = load_elements<vector>(arrays.x + i);
    grads = load_elements<vector>(arrays.grad_y + i);
    if (writes && arrays.other_grad_y) others = load_elements<vector>(arrays.other_grad_y + i);
    if (writes && arrays.relu_output) outputs = load_elements<vector>(arrays.relu_output + i);
  }
  // The gradient of the ReLU's input.
  __device__ float grad(const Activations<Types>& arrays, const Affine& affine, int v) const {
    if (arrays.relu_beta && !(affine(inputs[v]) > 0)) return 0;
    if (writes && arrays.relu_output && !(outputs[v] > 0)) return 0;
    return writes && arrays.other_grad_y ? grads[v] + others[v] : grads[v];
  }
};

// Grid: blocks of a group, channel tiles, groups from first_group on. A sample is summed by `team` warps, 1 or all of
// the block.
template <class Types, int vector, bool writes>
__global__ void __launch_bounds__(block_threads)
    gradient_sums_kernel(int64_t first_group, int64_t groups, int64_t group_samples, int64_t positions,
                         int64_t channels, int width, int team, Activations<Types> arrays, ParameterArrays parameters,
                         unsigned* counters, double* block_sums, GroupGradients merged) {
  constexpr int rows_at_once = writes ? 2 : 4;  // loaded before the first store, which later loads cannot overtake
  GPU_SHARED(float, warp_sums, [warps_per_block][2][max_tile]);
  const Tile<vector> tile(channels, width, blockIdx.y);
  const int64_t blocks = gridDim.x, group = first_group + blockIdx.z;
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes, team_rows = team * warp_lanes / width;
  const int row = tile.row % team_rows, samples_at_once = warps_per_block / team;
  Affines<vector> affines{};
  if (tile.in_range)
    for (int v = 0; v < vector; ++v) {
      const int64_t c = tile.column + v;
      affines.channel[v] = affine_of(parameters.gamma, arrays.relu_beta, parameters.mean, parameters.inverse_std, c,
                                     group * channels + c);
    }
  const int64_t last = part_begin(blockIdx.x + 1, blocks, group_samples);
  const bool owner = threadIdx.x < static_cast<unsigned>(width * vector);  // of one channel of the tile
  double totals[sums_per_channel] = {};
  for (int64_t sample = part_begin(blockIdx.x, blocks, group_samples); sample < last; sample += samples_at_once) {
    const int64_t n = sample + warp / team, origin = (group * group_samples + n) * positions * channels + tile.column;
    float sums[2][vector] = {};
    if (tile.in_range && n < last)
      for (int64_t t = row; t < positions; t += rows_at_once * team_rows) {
        Loaded<Types, vector, writes> loaded[rows_at_once];
#pragma unroll
        for (int r = 0; r < rows_at_once; ++r)
          if (t + r * team_rows < positions) loaded[r].load(arrays, origin + (t + r * team_rows) * channels);
#pragma unroll
        for (int r = 0; r < rows_at_once; ++r) {
          if (t + r * team_rows >= positions) break;
          FloatVector<vector> grads;
          for (int v = 0; v < vector; ++v) {
            const Affine& affine = affines.channel[v];
            grads[v] = loaded[r].grad(arrays, affine, v);
            sums[0][v] += grads[v];
            sums[1][v] += grads[v] * (loaded[r].inputs[v] - affine.mean);
          }
          if (writes) store_elements(arrays.grad_addend + origin + (t + r * team_rows) * channels, grads);
        }
      }
    share_warp_sums(sums, width, warp_sums);
    if (owner)
      for (int first = 0; first < warps_per_block; first += team)
        for (int term = 0; term < 2; ++term) {
          double sum = 0;
          for (int i = first; i < first + team; ++i) sum += warp_sums[i][term][threadIdx.x];
          totals[2 * term] += sum;
          totals[2 * term + 1] += sum * sum;
        }
    __syncthreads();
  }
  const int64_t channel = int64_t{blockIdx.y} * width * vector + threadIdx.x;
  if (owner && channel < channels) {
    double* const to = block_sums + (group * blocks + blockIdx.x) * sums_per_channel * channels + channel;
    for (int sum = 0; sum < sums_per_channel; ++sum) to[sum * channels] = totals[sum];
  }
  unsigned* const of_group = counters + gridDim.y * (1 + blockIdx.z) + blockIdx.y;
  if (!is_last_block(of_group, gridDim.x)) return;
  const Tile<1> merging(channels, width * vector, blockIdx.y);
  const GroupAffine affine(merging, parameters, group, channels);
  sum_rows(merging, blocks, channels, width * vector, block_sums + group * blocks * sums_per_channel * channels,
           totals);
  finish_gradients(merging, parameters, affine, merged, group_samples * positions, group, groups, channels,
                   width * vector, counters + blockIdx.y, totals);
}

template <int vector>
struct InputGradients {
  Affines<vector> affines;
  float offset[vector], slope[vector];
};

// Second grid dimension: groups. arrays: as the second pass reads them.
template <class Types, int vector>
__global__ void __launch_bounds__(block_threads)
    input_gradient_kernel(int64_t groups, int64_t rows, int64_t channels, Activations<Types> arrays,
                          ParameterArrays parameters, const float* offset, const float* slope) {
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    const int64_t origin = group * rows * channels;
    channel_stride(
        rows, channels / vector,
        [&](int64_t column) {
          InputGradients<vector> gradients;
          for (int v = 0; v < vector; ++v) {
            const int64_t c = column * vector + v, i = group * channels + c;
            gradients.affines.channel[v] =
                affine_of(parameters.gamma, arrays.relu_beta, parameters.mean, parameters.inverse_std, c, i);
            gradients.offset[v] = offset[i];
            gradients.slope[v] = slope[i];
          }
          return gradients;
        },
        [&](int64_t i, const InputGradients<vector>& gradients) {
          const auto inputs = load_elements<vector>(arrays.x + origin + i * vector);
          const auto grads = load_elements<vector>(arrays.grad_y + origin + i * vector);
          FloatVector<vector> result;
          for (int v = 0; v < vector; ++v) {
            const Affine& affine = gradients.affines.channel[v];
            const float grad = arrays.relu_beta && !(affine(inputs[v]) > 0) ? 0.0f : grads[v];
            result[v] = affine.scale * (grad - gradients.offset[v] - (inputs[v] - affine.mean) * gradients.slope[v]);
          }
          store_elements(arrays.grad_x + origin + i * vector, result);
        });
  }
}

// Grid: see for_each_sample.
__global__ void __launch_bounds__(block_threads)
    sample_gradients_kernel(int64_t samples, int64_t group_samples, int64_t positions, int64_t channels, int width,
                            const float* x, const float* mean, const float* inverse_std, const float* grad_y,
                            float* sums, float* products) {
  for_each_sample<2>(
      samples, positions, channels, width,
      [&](int64_t n, int64_t channel, int64_t i, float(&terms)[2]) {
        terms[0] += grad_y[i];
        terms[1] += grad_y[i] * (x[i] - mean[n / group_samples * channels + channel]);
      },
      [&](int64_t n, int64_t channel, const float(&terms)[2]) {
        sums[n * channels + channel] = terms[0];
        products[n * channels + channel] = terms[1] * inverse_std[n / group_samples * channels + channel];
      });
}

template <class Types>
void backward(Queue& queue, const BatchNormShape& shape, const BatchNormBackward& given) {
  const Activations<Types> arrays(given);
  const ParameterArrays parameters(given);
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  constexpr int width = vector_width<typename Types::Value>;
  const bool by_vectors =
      channels % width == 0 && aligned_elements<width>(arrays.x, arrays.grad_y, arrays.other_grad_y, arrays.relu_output,
                                                       arrays.grad_addend, arrays.grad_x);
  const int vector = by_vectors ? width : 1;
  const GroupGrid grid(shape, vector);
  const int team = shape.positions * grid.width * vector >= sample_chunk ? warps_per_block : 1;
  const int64_t blocks = std::clamp<int64_t>(busy_blocks / (grid.tiles * groups), 1,
                                             std::min(most_blocks, divide_up(shape.group * team, warps_per_block)));
  const int64_t statistics = given.factors.grad ? 0 : groups * channels;
  Scratch scratch(queue);
  const auto [block_sums, group_sums, offset, slope] = scratch.take<double, double, float, float>(
      groups * blocks * sums_per_channel * channels, groups * sums_per_channel * channels, statistics, statistics);
  const GroupGradients merged = given.factors.grad ? GroupGradients{group_sums, nullptr, nullptr, given.factors}
                                                   : GroupGradients{group_sums, offset, slope, {}};
  unsigned* const counters = queue.cuda().counters(grid.counters());
  grid.for_each_launch(blocks, [&](int64_t first, dim3 size) {
    with_width<width>(by_vectors, [&](auto v) {
      launch(queue, arrays.grad_addend ? gradient_sums_kernel<Types, v, true> : gradient_sums_kernel<Types, v, false>,
             size, block_threads, 0, first, groups, shape.group, shape.positions, channels, grid.width, team, arrays,
             parameters, counters, block_sums, merged);
    });
  });
  if (given.factors.grad) return;
  Activations<Types> second = arrays;
  if (arrays.grad_addend) {  // the first pass has applied the ReLU
    second.grad_y = arrays.grad_addend;
    second.relu_beta = nullptr;
  }
  with_width<width>(by_vectors, [&](auto v) {
    launch(queue, input_gradient_kernel<Types, v>, group_channel_grid(shape, v), block_threads, 0, groups, rows,
           channels, second, parameters, offset, slope);
  });
}

}  // namespace

void batch_norm_backward(Queue& queue, const BatchNormShape& shape, const BatchNormBackward& arrays) {
  check(shape);
  check(arrays);
  if (shape.samples == 0) return;
  with_stored_types("batch_norm_backward", arrays.x.type,
                    [&]<class Types>(Types) { backward<Types>(queue, shape, arrays); });
}

void batch_norm_sample_gradients(Queue& queue, const BatchNormShape& shape, const float* x, const float* mean,
                                 const float* inverse_std, const float* grad_y, float* sums, float* products) {
  check(shape);
  if (shape.samples == 0) return;
  launch(queue, sample_gradients_kernel, sample_channel_grid(shape.samples, shape.channels), block_threads, 0,
         shape.samples, shape.group, shape.positions, shape.channels, channel_width(shape.channels), x, mean,
         inverse_std, grad_y, sums, products);
}

}  // namespace noisysgd::kernels::cuda
