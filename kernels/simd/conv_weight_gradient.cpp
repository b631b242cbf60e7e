// Driver of the register tile (conv_tile.inl). Samples are taken in blocks whose halo-padded copies stay in the cache;
// a task is one tile of the weights over the samples of one group of the block. Few tiles: the samples of a block are
// split into groups with their own sums, added in order at the end. Blocks, groups and tiles are functions of the shape
// alone.
#include <algorithm>
#include <cstring>

#include "kernels/check.h"
#include "kernels/simd/ops.h"

namespace noisysgd::kernels::simd {

namespace {

constexpr int64_t block_bytes = int64_t{1} << 20;  // of samples at work: half of a common second-level cache
constexpr int64_t enough_tasks = 32;               // per block, for the threads to share

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }
// The balanced partition of [0,total) into `parts`: part i begins here and ends where part i+1 begins.
int64_t part_begin(int64_t i, int64_t parts, int64_t total) { return i * total / parts; }

struct Plan {
  // One sample in scratch: [padded | packed patches, if packed | squares of what the tiles read, grad_y^2, if spatial].
  int64_t padded_height, padded_width, row_stride;  // row_stride: floats between padded rows
  int64_t packed_at, squares_at, grad_squares_at;   // offsets within a sample
  int64_t source_at, source_floats;                 // what the tiles read: the padded sample or its patches
  int64_t sample_floats;
  int64_t block, groups;  // samples per block, groups of samples with private sums

  // Taps as `tap_rows` runs of `tap_row` contiguous floats, `tap_row_stride` apart.
  bool packed;
  int64_t tap_rows, tap_row, tap_row_stride;
  int64_t vectors_per_row, vectors, vector_parts, channel_parts;
  int64_t rows, columns, x_row, x_column;  // positions, as the tiles see them

  int64_t tiles() const { return vector_parts * channel_parts; }

  Plan(const SimdKernels& kernels, const ConvShape& shape, SecondMoment statistic) {
    const int64_t lanes = kernels.lanes, run = shape.kernel_width * shape.in_channels;
    const int64_t taps = shape.kernel_height * run, positions = shape.positions();
    padded_height = (shape.out_height() - 1) * shape.stride_height + shape.kernel_height;
    padded_width = (shape.out_width() - 1) * shape.stride_width + shape.kernel_width;
    row_stride = padded_width * shape.in_channels;

    // Short runs (one or three input channels) would leave lanes empty; whole patches fill them.
    const int64_t row_vectors = shape.kernel_height * divide_up(run, lanes), patch_vectors = divide_up(taps, lanes);
    packed = 5 * row_vectors > 6 * patch_vectors;
    tap_rows = packed ? 1 : shape.kernel_height;
    tap_row = packed ? taps : run;
    tap_row_stride = row_stride;
    vectors_per_row = divide_up(tap_row, lanes);
    vectors = tap_rows * vectors_per_row;
    vector_parts = divide_up(vectors, kernels.tile_vectors);
    channel_parts = divide_up(shape.out_channels, kernels.tile_channels);

    rows = packed ? 1 : shape.out_height();
    columns = packed ? positions : shape.out_width();
    x_column = packed ? patch_vectors * lanes : shape.stride_width * shape.in_channels;
    x_row = packed ? 0 : shape.stride_height * row_stride;

    // Vectors may read, and packing write, up to one vector behind the end: the slack.
    const int64_t slack = 16, padded_floats = round_up(padded_height * row_stride + slack, 16);
    const int64_t packed_floats = round_up(positions * x_column + slack, 16);
    packed_at = padded_floats;
    source_at = packed ? packed_at : 0;
    source_floats = packed ? packed_floats : padded_floats;
    squares_at = source_at + source_floats;
    grad_squares_at = squares_at + source_floats;
    sample_floats = statistic == SecondMoment::spatial ? grad_squares_at + round_up(positions * shape.out_channels, 16)
                                                       : squares_at;

    const int64_t bytes = (sample_floats + positions * shape.out_channels) * int64_t{sizeof(float)};
    block = std::clamp<int64_t>(block_bytes / bytes, 1, shape.batch);
    groups = std::clamp<int64_t>(divide_up(enough_tasks, tiles()), 1, block);
  }
};

// The sample with its halo of zeros, as far as the kernel reaches.
void pad_sample(const ConvShape& shape, const Plan& plan, const float* x, float* padded) {
  const int64_t left = shape.padding_width * shape.in_channels;
  const int64_t copied = std::clamp<int64_t>(plan.row_stride - left, 0, shape.width * shape.in_channels);
  const int64_t zeros_before = std::min(left, plan.row_stride);
  for (int64_t i = 0; i < plan.padded_height; ++i) {
    float* row = padded + i * plan.row_stride;
    const int64_t h = i - shape.padding_height;
    if (h < 0 || h >= shape.height) {
      std::fill_n(row, plan.row_stride, 0.0f);
      continue;
    }
    std::fill_n(row, zeros_before, 0.0f);
    std::copy_n(x + h * shape.width * shape.in_channels, copied, row + zeros_before);
    std::fill(row + zeros_before + copied, row + plan.row_stride, 0.0f);
  }
  std::fill(padded + plan.padded_height * plan.row_stride, padded + plan.packed_at, 0.0f);
}

void prepare_sample(const SimdKernels& kernels, const ConvShape& shape, const Plan& plan, SecondMoment statistic,
                    const float* x, const float* grad_y, float* sample) {
  pad_sample(shape, plan, x, sample);
  if (plan.packed) {
    float* patches = sample + plan.packed_at;
    kernels.pack_patches({.x = sample,
                          .rows = shape.out_height(),
                          .columns = shape.out_width(),
                          .x_row = shape.stride_height * plan.row_stride,
                          .x_column = shape.stride_width * shape.in_channels,
                          .kernel_rows = shape.kernel_height,
                          .kernel_row = shape.kernel_width * shape.in_channels,
                          .kernel_row_stride = plan.row_stride,
                          .patch_size = plan.x_column,
                          .patches = patches});
  }
  if (statistic == SecondMoment::spatial) {
    kernels.square(plan.source_floats, sample + plan.source_at, sample + plan.squares_at);
    kernels.square(shape.positions() * shape.out_channels, grad_y, sample + plan.grad_squares_at);
  }
}

ConvTile make_tile(const SimdKernels& kernels, const ConvShape& shape, const Plan& plan, int64_t index) {
  const int64_t channel_part = index / plan.vector_parts, vector_part = index % plan.vector_parts;
  const int64_t first_channel = part_begin(channel_part, plan.channel_parts, shape.out_channels);
  const int64_t first_vector = part_begin(vector_part, plan.vector_parts, plan.vectors);
  ConvTile tile{};
  tile.channels =
      static_cast<int>(part_begin(channel_part + 1, plan.channel_parts, shape.out_channels) - first_channel);
  tile.vectors = static_cast<int>(part_begin(vector_part + 1, plan.vector_parts, plan.vectors) - first_vector);
  for (int64_t v = 0; v < tile.vectors; ++v) {
    const int64_t row = (first_vector + v) / plan.vectors_per_row;
    const int64_t offset = (first_vector + v) % plan.vectors_per_row * kernels.lanes;
    tile.tap[v] = row * plan.tap_row_stride + offset;
    tile.weight[v] = row * plan.tap_row + offset;
    tile.lanes[v] = std::min(kernels.lanes, plan.tap_row - offset);
  }
  tile.first_channel = first_channel;
  tile.weight_row = plan.tap_rows * plan.tap_row;
  tile.rows = plan.rows;
  tile.columns = plan.columns;
  tile.x_row = plan.x_row;
  tile.x_column = plan.x_column;
  tile.x_sample = plan.sample_floats;
  tile.grad_column = shape.out_channels;
  return tile;
}

void check(const ConvShape& shape) {
  NSGD_CHECK(shape.batch >= 0 && shape.in_channels > 0 && shape.out_channels > 0 && shape.kernel_height > 0 &&
                 shape.kernel_width > 0 && shape.stride_height > 0 && shape.stride_width > 0 &&
                 shape.padding_height >= 0 && shape.padding_width >= 0 &&
                 shape.height + 2 * shape.padding_height >= shape.kernel_height &&
                 shape.width + 2 * shape.padding_width >= shape.kernel_width,
             "convolution weight gradient: impossible shape: x [{},{},{},{}], weight [{},{},{},{}], stride {}x{}, "
             "padding {}x{}",
             shape.batch, shape.height, shape.width, shape.in_channels, shape.out_channels, shape.kernel_height,
             shape.kernel_width, shape.in_channels, shape.stride_height, shape.stride_width, shape.padding_height,
             shape.padding_width);
}

}  // namespace

void conv_weight_gradient(Queue& queue, const SimdKernels& kernels, const ConvShape& shape, SecondMoment statistic,
                          const float* x, const float* grad_y, float* grad_weight, float* second_moment) {
  check(shape);
  if (shape.batch == 0) return;
  const Plan plan(kernels, shape, statistic);
  const int64_t x_sample = shape.height * shape.width * shape.in_channels;
  const int64_t grad_sample = shape.positions() * shape.out_channels;
  const int64_t outputs = statistic == SecondMoment::none ? 1 : 2;
  const int64_t private_floats = plan.groups > 1 ? round_up(shape.weights(), 16) : 0;

  // Workspace: the samples of a block, then the sums and the second moments of every group.
  const int64_t floats = plan.block * plan.sample_floats + plan.groups * outputs * private_floats;
  float* const samples = static_cast<float*>(queue.workspace(static_cast<size_t>(floats) * sizeof(float)));
  float* const sums = samples + plan.block * plan.sample_floats;
  float* const squares = sums + plan.groups * private_floats;
  const auto group_sum = [&](int64_t group) { return private_floats ? sums + group * private_floats : grad_weight; };
  const auto group_square = [&](int64_t group) {
    return private_floats ? squares + group * private_floats : second_moment;
  };

#pragma omp parallel num_threads(queue.threads())
  {
    if (private_floats) {
#pragma omp for schedule(static)
      for (int64_t i = 0; i < plan.groups * outputs; ++i) std::fill_n(sums + i * private_floats, private_floats, 0.0f);
    }
    for (int64_t first = 0; first < shape.batch; first += plan.block) {
      const int64_t count = std::min(plan.block, shape.batch - first);
#pragma omp for schedule(static)
      for (int64_t n = 0; n < count; ++n) {
        prepare_sample(kernels, shape, plan, statistic, x + (first + n) * x_sample, grad_y + (first + n) * grad_sample,
                       samples + n * plan.sample_floats);
      }
#pragma omp for schedule(static)
      for (int64_t task = 0; task < plan.groups * plan.tiles(); ++task) {
        const int64_t group = task / plan.tiles(), begin = part_begin(group, plan.groups, count);
        ConvTile tile = make_tile(kernels, shape, plan, task % plan.tiles());
        tile.samples = part_begin(group + 1, plan.groups, count) - begin;
        const int64_t channel = tile.first_channel, weight = channel * tile.weight_row;
        const float* const sample = samples + begin * plan.sample_floats;
        tile.x = sample + plan.source_at;
        tile.grad_y = grad_y + (first + begin) * grad_sample + channel;
        tile.grad_sample = grad_sample;
        tile.sum = group_sum(group) + weight;
        tile.square = statistic == SecondMoment::exact ? group_square(group) + weight : nullptr;
        kernels.conv_tile(tile);
        if (statistic == SecondMoment::spatial) {
          tile.x = sample + plan.squares_at;
          tile.grad_y = sample + plan.grad_squares_at + channel;
          tile.grad_sample = plan.sample_floats;
          tile.sum = group_square(group) + weight;
          kernels.conv_tile(tile);
        }
      }
    }
    if (private_floats) {
#pragma omp for schedule(static)
      for (int64_t i = 0; i < shape.weights(); ++i) {
        for (int64_t group = 0; group < plan.groups; ++group) {
          grad_weight[i] += sums[group * private_floats + i];
          if (statistic != SecondMoment::none) second_moment[i] += squares[group * private_floats + i];
        }
      }
    }
  }
}

}  // namespace noisysgd::kernels::simd
