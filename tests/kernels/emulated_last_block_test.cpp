// Sums that the last block of a kernel merges: the same bits whichever block is the last, in replayed graphs, and after
// launches that failed.
#include <noisysgd/kernels/cuda/last_block.h>

#include <utility>

#include <noisysgd/kernels/batch_norm_parts.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/op_graph.h>
#include "tests/catch.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;
using emulation::DifferentDevice;
using Order = emulation::Options::Order;

namespace {

// A training pass of batch norm, and the merges of its parts: several groups, tiles of channels, and blocks in each.
// And weight gradients: several tiles, shares and teams of shares.
class Pass {
 public:
  static constexpr ConvShape conv{60, 2, 2, 3, 80, 2, 2, 1, 1, 1, 1};

  explicit Pass(Queue& queue) : queue_(queue) {}

  void issue() {
    float* const p = parameters_.on(queue_);
    const int64_t c = shape.channels;
    batch_norm_forward(queue_, shape,
                       {.epsilon = 1e-3f,
                        .gamma = p,
                        .beta = p + c,
                        .momentum = 0.1f,
                        .running_mean = p + 2 * c,
                        .running_variance = p + 3 * c,
                        .mean = mean_.on(queue_),
                        .inverse_std = inverse_.on(queue_)},
                       x_.on(queue_), y_.on(queue_));
    batch_norm_backward(queue_, shape,
                        {.x = x_.on(queue_),
                         .gamma = p,
                         .mean = mean_.on(queue_),
                         .inverse_std = inverse_.on(queue_),
                         .grad_y = grad_y_.on(queue_),
                         .grad_gamma = p + 4 * c,
                         .grad_beta = p + 5 * c,
                         .gamma_second_moment = p + 6 * c,
                         .beta_second_moment = p + 7 * c,
                         .grad_x = grad_x_.on(queue_)});
    conv_second_moment_exact(queue_, conv, conv_x_.on(queue_), conv_grad_.on(queue_), weights_.on(queue_),
                             weights_.on(queue_) + conv.weights());
    const int64_t n = shape.groups() * c;
    float* const merged = merged_.on(queue_);
    batch_norm_merge_statistics(queue_, shape, {12, 100, block_mean_.on(queue_), block_m2_.on(queue_)},
                                {.epsilon = 1e-3f,
                                 .gamma = p,
                                 .beta = p + c,
                                 .momentum = 0.1f,
                                 .running_mean = p + 2 * c,
                                 .running_variance = p + 3 * c,
                                 .mean = merged,
                                 .inverse_std = merged + n,
                                 .factor = merged + 2 * n,
                                 .term = merged + 3 * n});
    batch_norm_merge_gradients(queue_, shape,
                               {.sums = sums_.on(queue_),
                                .parts = 2,
                                .gamma = p,
                                .mean = mean_.on(queue_),
                                .inverse_std = inverse_.on(queue_),
                                .grad_gamma = p + 4 * c,
                                .grad_beta = p + 5 * c,
                                .gamma_second_moment = p + 6 * c,
                                .beta_second_moment = p + 7 * c,
                                .factors = {merged + 4 * n, merged + 5 * n, merged + 6 * n}});
  }
  std::vector<std::vector<float>> results() {
    queue_.synchronize();
    std::vector<std::vector<float>> all;
    for (const Mirrored<float>* array : {&parameters_, &mean_, &inverse_, &y_, &grad_x_, &merged_, &weights_})
      all.push_back(array->on_cuda());
    return all;
  }

 private:
  static constexpr BatchNormShape shape{12, 300, 33, 4};
  static constexpr int64_t size = shape.samples * shape.positions * shape.channels;
  Queue& queue_;
  Mirrored<float> x_{random_tensor(size, 1)}, parameters_{random_tensor(8 * shape.channels, 2, 1)},
      mean_{nan_tensor(3 * shape.channels)}, inverse_{nan_tensor(3 * shape.channels)}, y_{nan_tensor(size)},
      grad_y_{random_tensor(size, 3)}, grad_x_{nan_tensor(size)}, merged_{nan_tensor(7 * 3 * shape.channels)},
      sums_{random_tensor(shape.samples * 2 * shape.channels * 2, 4)}, conv_x_{random_tensor(input_size(conv), 4)},
      conv_grad_{random_tensor(output_size(conv), 5)}, weights_{random_tensor(2 * conv.weights(), 6)};
  Mirrored<double> block_mean_{to_double(random_tensor(3 * 12 * shape.channels, 5))},
      block_m2_{to_double(random_tensor(3 * 12 * shape.channels, 6, 1))};
};

// On a queue of its own, whose workspace does not hold the sums of an earlier pass.
std::vector<std::vector<float>> results_in(Order order) {
  Queue queue({Backend::cuda, 0});
  queue.set_precision(Precision::fp32);
  const Order before = std::exchange(emulation::options().order, order);
  Pass pass(queue);
  pass.issue();
  auto results = pass.results();
  emulation::options().order = before;
  return results;
}

}  // namespace

TEST_CASE("merged sums do not depend on the block that is last") {
  const auto [tiles, shares] = cuda::conv_tiles(Pass::conv).grid(Pass::conv);
  CHECK((tiles.count() == 2 && shares == 60));
  CHECK(cuda::team_of(shares, 8 * tiles.size()) == 8);
  const auto forward = results_in(Order::forward);
  CHECK(results_in(Order::reverse) == forward);
  CHECK(results_in(Order::random) == forward);
}

TEST_CASE("merged sums are right in a graph that is replayed") {
  Queue queue({Backend::cuda, 0});
  Pass issued(queue), replayed(queue);
  for (int i = 0; i < 3; ++i) issued.issue();
  OpGraph graph(queue, [&] { replayed.issue(); });
  for (int i = 0; i < 3; ++i) graph.launch();
  CHECK(replayed.results() == issued.results());
}

TEST_CASE("merged sums are right after a step that failed for lack of memory") {
  Queue queue({Backend::cuda, 0});
  Pass before(queue), after(queue);
  before.issue();
  {
    Pass failed(queue);
    const DifferentDevice full({.launch_bytes = size_t{1} << 40});
    CHECK_THROWS_AS(failed.issue(), OutOfMemory);
  }
  after.issue();
  CHECK(after.results() == before.results());
}
