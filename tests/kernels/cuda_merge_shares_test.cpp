// Weight gradients summed over shares of the samples: merged by the blocks that finish last, in one level or two, or by
// a second launch. conv_tiles has one share for each sample here, as long as its blocks suffice, so that the batch
// chooses the number of shares.
#include <algorithm>
#include <cmath>

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include "tests/catch.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/mirrored.h"
#include "tests/reference/second_moment_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// How the sums of a shape are merged by conv_tiles: shares of a team, 0 for a second launch.
int64_t team(const ConvShape& s, int64_t sums) {
  const auto [tiles, shares] = cuda::conv_tiles(s).grid(s);
  return cuda::team_of(shares, sums * int64_t{sizeof(float)} * tiles.size());
}

std::vector<float> plus(const std::vector<float>& before, const std::vector<double>& values) {
  std::vector<float> result;
  for (size_t i = 0; i < values.size(); ++i) result.push_back(static_cast<float>(before[i] + values[i]));
  return result;
}

std::vector<float> from(const std::vector<float>& values, int64_t offset) {
  return {values.begin() + offset, values.end()};
}

// Adds to gradients and moments that hold other values, `offset` floats from an aligned address. The values need no
// rounding, so the results must be equal.
void check(Queue& queue, const ConvShape& s, int64_t offset = 0) {
  CAPTURE(describe(s), offset);
  REQUIRE(cuda::conv_route(s, SecondMoment::exact, Precision::fp32, size_t{227} << 10) == cuda::ConvRoute::tiles);
  const std::vector<float> x = halves(random_tensor(input_size(s), 1)),
                           grad_y = halves(random_tensor(output_size(s), 2)),
                           before = halves(random_tensor(s.weights() + offset, 3));
  const SecondMomentReference reference = second_moment_reference(s, x, grad_y);
  Floats values(x), gradients(grad_y), sum(before), moment(before), alone(before), moment_alone(before);
  const auto run = [&](float* to_sum, float* to_moment) {
    conv_sample_sums(queue, s, values.on(queue), gradients.on(queue), SampleSums{.second_moment = to_moment}, to_sum);
  };
  run(sum.on(queue) + offset, moment.on(queue) + offset);
  run(alone.on(queue) + offset, nullptr);
  run(nullptr, moment_alone.on(queue) + offset);
  queue.synchronize();
  const std::vector<float> new_sum = plus(from(before, offset), reference.sum),
                           new_moment = plus(from(before, offset), reference.exact);
  CHECK(from(sum.on_cuda(), offset) == new_sum);
  CHECK(from(moment.on_cuda(), offset) == new_moment);
  CHECK(from(alone.on_cuda(), offset) == new_sum);
  CHECK(from(moment_alone.on_cuda(), offset) == new_moment);
  for (const Floats* array : {&sum, &moment, &alone, &moment_alone})
    CHECK(std::equal(before.begin(), before.begin() + offset, array->on_cuda().begin()));
}

}  // namespace

TEST_CASE("sums over any number of shares are merged") {
  Queue queue({Backend::cuda, 0});
  queue.set_precision(Precision::fp32);
  const auto of = [](int64_t batch) { return ConvShape{batch, 3, 2, 3, 5, 2, 2, 1, 1, 0, 0}; };
  // One share; one team; teams of four, the last one of four, one and two; a second launch.
  for (const auto& [batch, gradient, with_moment] : std::vector<std::array<int64_t, 3>>{{1, 1, 1},
                                                                                        {2, 2, 2},
                                                                                        {3, 3, 3},
                                                                                        {11, 11, 4},
                                                                                        {12, 4, 4},
                                                                                        {13, 4, 4},
                                                                                        {14, 4, 4},
                                                                                        {64, 8, 8},
                                                                                        {65, 9, 0},
                                                                                        {66, 9, 0},
                                                                                        {255, 16, 0},
                                                                                        {256, 16, 0},
                                                                                        {257, 0, 0},
                                                                                        {600, 0, 0}}) {
    CHECK(team(of(batch), 1) == gradient);
    CHECK(team(of(batch), 2) == with_moment);
    check(queue, of(batch));
  }
}

TEST_CASE("shares of many tiles are merged, whole ones and those at the edges") {
  Queue queue({Backend::cuda, 0});
  queue.set_precision(Precision::fp32);
  for (const int64_t batch : {1, 3, 13}) {
    check(queue, {batch, 2, 2, 35, 130, 2, 1, 1, 1, 0, 0});  // nine tiles, 70 columns
    check(queue, {batch, 2, 2, 36, 66, 2, 1, 1, 1, 0, 0});   // 72 columns, four at a time
    check(queue, {batch, 2, 2, 36, 66, 2, 1, 1, 1, 0, 0}, 1);
    check(queue, {batch, 2, 2, 64, 64, 2, 1, 1, 1, 0, 0});  // whole tiles
  }
  for (const int64_t offset : {0, 3}) {  // a second launch for both sums together
    check(queue, {70, 2, 2, 36, 66, 2, 1, 1, 1, 0, 0}, offset);
    check(queue, {70, 2, 2, 35, 66, 2, 1, 1, 1, 0, 0}, offset);
  }
}

TEST_CASE("no block merges more than a bounded number of bytes") {
  for (const int64_t bytes : {int64_t{64}, int64_t{1728}, int64_t{9216}, int64_t{36864}, int64_t{147456}})
    for (int64_t shares = 1; shares <= 700; ++shares) {
      CAPTURE(bytes, shares);
      const int64_t team = cuda::team_of(shares, bytes);
      REQUIRE((team >= 0 && team <= shares));
      const auto root = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(shares))));
      const int64_t in_two_levels = root + (shares + root - 1) / root;
      if (team == 0) {
        REQUIRE((shares > 1 && std::min(shares, in_two_levels) * bytes > cuda::most_merged_bytes));
      } else if (shares > 1) {
        REQUIRE((team == shares || team == root));
        REQUIRE((team == shares ? shares : in_two_levels) * bytes <= cuda::most_merged_bytes);
      }
    }
  CHECK(cuda::team_of(1, int64_t{1} << 20) == 1);  // a block's own sums
}

TEST_CASE("the layers of ResNet44 that merge their shares in one launch") {
  struct Layer {
    int64_t size, in, out, stride, kernel;
    bool merged[2][2];  // [batch of 128, of 4096][gradient, and second moment]
  };
  for (const Layer& layer : {Layer{32, 3, 16, 1, 3, {{true, true}, {true, true}}},
                             {32, 16, 16, 1, 3, {{true, true}, {true, true}}},
                             {32, 16, 32, 2, 3, {{true, true}, {true, false}}},
                             {16, 32, 32, 1, 3, {{false, false}, {false, false}}},
                             {16, 32, 64, 2, 3, {{true, true}, {true, true}}},
                             {8, 64, 64, 1, 3, {{true, false}, {true, false}}},
                             {32, 16, 32, 2, 1, {{true, true}, {true, true}}},
                             {16, 32, 64, 2, 1, {{true, true}, {true, false}}}})
    for (const int large : {0, 1})
      for (const int sums : {1, 2}) {
        const ConvShape s{large ? 4096 : 128, layer.size,       layer.size,      layer.in,
                          layer.out,          layer.kernel,     layer.kernel,    layer.stride,
                          layer.stride,       layer.kernel / 2, layer.kernel / 2};
        const cuda::ConvKernel* kernel = cuda::conv_window(s, SecondMoment::exact, Precision::tf32, size_t{227} << 10);
        if (!kernel) kernel = cuda::conv_gather(s, Precision::tf32);
        const auto [tiles, shares] = kernel->grid(s);
        CAPTURE(describe(s), sums, shares, tiles.count(), tiles.size());
        CHECK((cuda::team_of(shares, sums * 4 * tiles.size()) > 0) == layer.merged[large][sums - 1]);
      }
}
