// Driver of the register tile (conv_tile.inl). Samples are processed in blocks whose halo-padded copies stay in the
// cache. A task is one tile of the weights over the samples of one group of the block. If there are few tiles, the
// samples of a block are split into groups with their own sums, which are added in order at the end. Blocks, groups and
// tiles are functions of the shape alone.
#include <algorithm>
#include <cstring>

#include <noisysgd/kernels/scratch.h>
#include <noisysgd/kernels/simd/ops.h>

namespace noisysgd::kernels::simd {

namespace {

constexpr int64_t block_bytes = int64_t{1} << 20;  // of the samples of a block: half of a typical L2 cache
constexpr int64_t enough_tasks = 32;               // per block, for the threads to share

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }
// The balanced partition of [0,total) into `parts`: part i begins here and ends where part i+1 begins.
int64_t part_begin(int64_t i, int64_t parts, int64_t total) { return i * total / parts; }

// One operand of the tiles, cut into vectors: runs of consecutive floats, each padded to whole vectors.
struct Vectors {
  int64_t runs, run, per_run;  // number and length of the runs, vectors in each
  int64_t total() const { return runs * per_run; }
};

struct Plan {
  // One sample in scratch: [halo-padded x | its squares and those of grad_y, if spatial].
  int64_t padded_height, padded_width, row_stride, padded_floats;  // row_stride: floats between padded rows
  int64_t sample_floats;
  int64_t block, groups;  // samples per block, groups of samples with private sums

  int64_t tap_run, taps;  // S*C contiguous taps of a kernel row, R*S*C taps
  bool taps_in_lanes;     // false: output channels in lanes
  Vectors vectors;
  int64_t vector_parts, scalars, scalar_parts;

  int64_t tiles() const { return vector_parts * scalar_parts; }

  Plan(const SimdKernels& kernels, const ConvShape& shape, bool spatial) {
    padded_height = (shape.out_height() - 1) * shape.stride_height + shape.kernel_height;
    padded_width = (shape.out_width() - 1) * shape.stride_width + shape.kernel_width;
    row_stride = padded_width * shape.in_channels;
    padded_floats = round_up(padded_height * row_stride + slack, 16);

    tap_run = shape.kernel_width * shape.in_channels;
    taps = shape.kernel_height * tap_run;
    const Vectors tap_vectors{shape.kernel_height, tap_run, divide_up(tap_run, kernels.lanes)};
    const Vectors channel_vectors{1, shape.out_channels, divide_up(shape.out_channels, kernels.lanes)};
    // With channels in lanes no vector may reach beyond grad_y, so there must be at least a vector of channels.
    taps_in_lanes = shape.out_channels < kernels.lanes || cycles(kernels, tap_vectors.total(), shape.out_channels) <=
                                                              cycles(kernels, channel_vectors.total(), taps);
    vectors = taps_in_lanes ? tap_vectors : channel_vectors;
    scalars = taps_in_lanes ? shape.out_channels : taps;
    vector_parts = divide_up(vectors.total(), kernels.tile_vectors);
    scalar_parts = divide_up(scalars, kernels.tile_scalars);

    const int64_t grad_floats = shape.positions() * shape.out_channels;
    sample_floats = padded_floats;
    if (spatial) sample_floats += padded_floats + round_up(grad_floats, 16);
    // The squares are not counted, so that the second moment does not change the order in which grad_weight is summed.
    const int64_t bytes = (padded_floats + grad_floats) * int64_t{sizeof(float)};
    block = std::clamp<int64_t>(block_bytes / bytes, 1, shape.batch);
    groups = std::clamp<int64_t>(divide_up(enough_tasks, tiles()), 1, block);
  }

 private:
  static constexpr int64_t slack = 16;  // the last vector of taps may read that many floats too far

  // Cost estimate per position, in units of half a cycle: a cycle does two multiply-adds or two loads, and no tile is
  // faster than the latency of its accumulators.
  static int64_t cycles(const SimdKernels& kernels, int64_t vectors, int64_t scalars) {
    const int64_t vector_parts = divide_up(vectors, kernels.tile_vectors);
    const int64_t scalar_parts = divide_up(scalars, kernels.tile_scalars);
    const int64_t v = divide_up(vectors, vector_parts), s = divide_up(scalars, scalar_parts);
    return vector_parts * scalar_parts * std::max<int64_t>({v * s, v + s, 8});
  }
};

// Copies the sample with a halo of zeros that covers the reach of the kernel.
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
  std::fill(padded + plan.padded_height * plan.row_stride, padded + plan.padded_floats, 0.0f);
}

void prepare_sample(const SimdKernels& kernels, const ConvShape& shape, const Plan& plan, bool spatial, const float* x,
                    const float* grad_y, float* sample) {
  pad_sample(shape, plan, x, sample);
  if (spatial) {
    kernels.square(plan.padded_floats, sample, sample + plan.padded_floats);
    kernels.square(shape.positions() * shape.out_channels, grad_y, sample + 2 * plan.padded_floats);
  }
}

// Offset of a tap in the padded sample.
int64_t tap_offset(const Plan& plan, int64_t tap) { return tap / plan.tap_run * plan.row_stride + tap % plan.tap_run; }

// The part of the weights that tile `index` computes. The data pointers of its operands are set later.
ConvTile make_tile(const SimdKernels& kernels, const ConvShape& shape, const Plan& plan, int64_t index) {
  const int64_t scalar_part = index / plan.vector_parts, vector_part = index % plan.vector_parts;
  const int64_t first_scalar = part_begin(scalar_part, plan.scalar_parts, plan.scalars);
  const int64_t first_vector = part_begin(vector_part, plan.vector_parts, plan.vectors.total());
  ConvTile tile{};
  tile.scalar_count = static_cast<int>(part_begin(scalar_part + 1, plan.scalar_parts, plan.scalars) - first_scalar);
  tile.vector_count =
      static_cast<int>(part_begin(vector_part + 1, plan.vector_parts, plan.vectors.total()) - first_vector);
  tile.taps_in_lanes = plan.taps_in_lanes;
  tile.lane_weight = plan.taps_in_lanes ? 1 : plan.taps;
  for (int64_t v = 0; v < tile.vector_count; ++v) {
    const int64_t run = (first_vector + v) / plan.vectors.per_run, length = plan.vectors.run;
    int64_t at = (first_vector + v) % plan.vectors.per_run * kernels.lanes;
    if (plan.taps_in_lanes) {
      tile.lane_end[v] = std::min(kernels.lanes, length - at);
      tile.vector_offset[v] = run * plan.row_stride + at;
      tile.vector_weight[v] = run * length + at;
    } else {
      // The last vector is moved back to end with the channels; the lanes that overlap the one before are not written.
      tile.lane_begin[v] = std::max<int64_t>(0, at + kernels.lanes - length);
      tile.lane_end[v] = kernels.lanes;
      at -= tile.lane_begin[v];
      tile.vector_offset[v] = at;
      tile.vector_weight[v] = at * plan.taps;
    }
  }
  for (int64_t k = 0; k < tile.scalar_count; ++k) {
    const int64_t scalar = first_scalar + k;
    tile.scalar_offset[k] = plan.taps_in_lanes ? scalar : tap_offset(plan, scalar);
    tile.scalar_weight[k] = plan.taps_in_lanes ? scalar * plan.taps : scalar;
  }
  tile.rows = shape.out_height();
  tile.columns = shape.out_width();
  return tile;
}

void run_tile(const SimdKernels& kernels, const ConvShape& shape, const Plan& plan, ConvTile& tile, const float* x,
              const float* grad_y, int64_t grad_sample, float* sum) {
  const ConvTile::Operand taps{x, plan.sample_floats, shape.stride_height * plan.row_stride,
                               shape.stride_width * shape.in_channels};
  const ConvTile::Operand channels{grad_y, grad_sample, shape.out_width() * shape.out_channels, shape.out_channels};
  tile.vectors = plan.taps_in_lanes ? taps : channels;
  tile.scalars = plan.taps_in_lanes ? channels : taps;
  if (plan.taps_in_lanes) tile.scalars.data += tile.scalar_offset[0];
  tile.sum = sum;
  kernels.conv_tile(tile);
}

// Sets the operands of the sums, from sample `first` on.
void set_operands(const ConvShape& shape, const SampleSums& sums, int64_t first, ConvTile& tile) {
  const auto row = [&](const float* array) { return array ? array + first * shape.out_channels : nullptr; };
  tile.tap_mean = sums.tap_mean;
  tile.slope = sums.slope;
  tile.channel_sum = row(sums.channel_sum);
  tile.channel_product = row(sums.channel_product);
  tile.signs = row(sums.signs);
  tile.channels = shape.out_channels;
}

// With `spatial`, sums.second_moment is the spatial second moment.
void weight_gradient(Queue& queue, const SimdKernels& kernels, const ConvShape& shape, bool spatial, const float* x,
                     const float* grad_y, const SampleSums& sums, float* grad_weight) {
  check(shape);
  if (shape.batch == 0) return;
  const Plan plan(kernels, shape, spatial);
  const int64_t x_sample = shape.height * shape.width * shape.in_channels;
  const int64_t grad_sample = shape.positions() * shape.out_channels;
  const int64_t private_floats = plan.groups > 1 ? round_up(shape.weights(), 16) : 0;
  float* const targets[] = {grad_weight, sums.second_moment, sums.signed_sum};
  const auto outputs = static_cast<int64_t>(std::size(targets));

  Scratch scratch(queue);
  float* const samples = scratch.take<float>(plan.block * plan.sample_floats);        // of a block
  float* const copies = scratch.take<float>(outputs * plan.groups * private_floats);  // each target's private sums
  const auto copy_of = [&](int64_t output, int64_t group) {
    return copies + (output * plan.groups + group) * private_floats;
  };
  const auto target = [&](int64_t output, int64_t group) {
    return private_floats && targets[output] ? copy_of(output, group) : targets[output];
  };

#pragma omp parallel num_threads(queue.threads())
  {
    if (private_floats) {
#pragma omp for schedule(static)
      for (int64_t i = 0; i < plan.groups * outputs; ++i)
        if (targets[i / plan.groups]) std::fill_n(copy_of(i / plan.groups, i % plan.groups), private_floats, 0.0f);
    }
    for (int64_t first = 0; first < shape.batch; first += plan.block) {
      const int64_t count = std::min(plan.block, shape.batch - first);
#pragma omp for schedule(static)
      for (int64_t n = 0; n < count; ++n) {
        prepare_sample(kernels, shape, plan, spatial, x + (first + n) * x_sample, grad_y + (first + n) * grad_sample,
                       samples + n * plan.sample_floats);
      }
#pragma omp for schedule(static)
      for (int64_t task = 0; task < plan.groups * plan.tiles(); ++task) {
        const int64_t group = task / plan.tiles(), begin = part_begin(group, plan.groups, count);
        ConvTile tile = make_tile(kernels, shape, plan, task % plan.tiles());
        tile.samples = part_begin(group + 1, plan.groups, count) - begin;
        const float* const sample = samples + begin * plan.sample_floats;
        if (!spatial) {
          set_operands(shape, sums, first + begin, tile);
          tile.square = target(1, group);
          tile.signed_sum = target(2, group);
        }
        if (!spatial || grad_weight)
          run_tile(kernels, shape, plan, tile, sample, grad_y + (first + begin) * grad_sample, grad_sample,
                   target(0, group));
        if (spatial)
          run_tile(kernels, shape, plan, tile, sample + plan.padded_floats, sample + 2 * plan.padded_floats,
                   plan.sample_floats, target(1, group));
      }
    }
    if (private_floats) {
#pragma omp for schedule(static)
      for (int64_t i = 0; i < shape.weights(); ++i)
        for (int64_t output = 0; output < outputs; ++output)
          for (int64_t group = 0; targets[output] && group < plan.groups; ++group)
            targets[output][i] += copy_of(output, group)[i];
    }
  }
}

}  // namespace

void conv_weight_gradient(Queue& queue, const SimdKernels& kernels, const ConvShape& shape, SecondMoment kind,
                          const float* x, const float* grad_y, float* grad_weight, float* second_moment) {
  weight_gradient(queue, kernels, shape, kind == SecondMoment::spatial, x, grad_y,
                  {.second_moment = kind == SecondMoment::none ? nullptr : second_moment}, grad_weight);
}

void conv_sample_sums(Queue& queue, const SimdKernels& kernels, const ConvShape& shape, const float* x,
                      const float* grad_y, const SampleSums& sums, float* grad_weight) {
  weight_gradient(queue, kernels, shape, false, x, grad_y, sums, grad_weight);
}

}  // namespace noisysgd::kernels::simd
