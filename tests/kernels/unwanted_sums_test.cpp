// Each sum of a backward op may be omitted. It is then not written, and the others do not change.
#include <algorithm>

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/batch_norm_parts.h>
#include <noisysgd/kernels/bias.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/random_tensor.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

using Sums = std::vector<float*>;

// add(context, sums) adds to `count` arrays, each of which may be null. terms: number of terms of one element.
template <class Add>
void check_subsets(size_t count, int64_t elements, int64_t terms, const Add& add) {
  Context context(test_device, 2);
  const auto before = [&](size_t i) { return random_tensor(elements, static_cast<uint32_t>(40 + i)); };
  const auto run = [&](size_t wanted) {
    std::vector<Tensor> tensors;
    Sums sums;
    for (size_t i = 0; i < count; ++i) {
      tensors.push_back(from_host(context, {elements}, before(i)));
      sums.push_back(wanted >> i & 1 ? tensors.back().f32() : nullptr);
    }
    add(context, sums);
    std::vector<std::vector<float>> values;
    for (const Tensor& tensor : tensors) values.push_back(to_host<float>(context, tensor));
    return values;
  };
  const size_t all = (size_t{1} << count) - 1;
  const auto expected = run(all);
  for (size_t i = 0; i < count; ++i) CHECK(expected[i] != before(i));
  for (size_t wanted = 0; wanted < all; ++wanted) {
    const auto values = run(wanted);
    for (size_t i = 0; i < count; ++i) {
      CAPTURE(wanted, i);
      if (wanted >> i & 1)  // by another kernel, perhaps
        CHECK(compare(values[i], to_double(expected[i]), {.terms = static_cast<double>(terms), .condition = 4}) == "");
      else
        CHECK(values[i] == before(i));
    }
  }
}

const ConvShape shapes[] = {{3, 5, 5, 2, 3, 3, 3, 1, 1, 1, 1},   {2, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1},
                            {4, 2, 2, 32, 64, 3, 3, 1, 1, 1, 1}, {2, 6, 6, 1, 4, 5, 5, 1, 1, 0, 0},
                            {2, 4, 4, 8, 8, 1, 1, 1, 1, 0, 0},   {5, 3, 3, 4, 6, 3, 3, 1, 1, 0, 0}};

}  // namespace

TEST_CASE("gradient and second moment of a bias, each alone") {
  check_subsets(2, 20, 7 * 33, [](Context& context, const Sums& sums) {
    const Tensor grad_y = from_host(context, {7, 33, 20}, random_tensor(7 * 33 * 20, 1));
    bias_backward(context.queue, 7, 33, 20, grad_y.f32(), sums[0], sums[1]);
  });
}

TEST_CASE("gradients and second moments of a batch normalisation, each alone") {
  const BatchNormShape shape{8, 9, 20, 4};
  check_subsets(4, 20, 8 * 9, [&](Context& context, const Sums& sums) {
    const Shape of_x{8, 9, 20};
    const Tensor x = from_host(context, of_x, random_tensor(of_x.elements(), 1)),
                 grad_y = from_host(context, of_x, random_tensor(of_x.elements(), 2)),
                 gamma = from_host(context, {20}, random_tensor(20, 3, 1)), mean = zeros(context, {2, 20}),
                 inverse_std = from_host(context, {2, 20}, std::vector<float>(40, 1.0f)), grad_x(context, of_x);
    batch_norm_backward(context.queue, shape,
                        BatchNormBackward{.x = x.f32(),
                                          .gamma = gamma.f32(),
                                          .mean = mean.f32(),
                                          .inverse_std = inverse_std.f32(),
                                          .grad_y = grad_y.f32(),
                                          .grad_gamma = sums[0],
                                          .grad_beta = sums[1],
                                          .gamma_second_moment = sums[2],
                                          .beta_second_moment = sums[3],
                                          .grad_x = grad_x.f32()});
  });
}

TEST_CASE("gradients and second moments of a batch normalisation from sums of samples, each alone") {
  const BatchNormShape shape{8, 9, 20, 4};
  check_subsets(4, 20, 8, [&](Context& context, const Sums& sums) {
    const Shape of_sums{8, 1, 20, 2};
    const Tensor sample_sums = from_host(context, of_sums, random_tensor(of_sums.elements(), 1)),
                 gamma = from_host(context, {20}, random_tensor(20, 3, 1)), mean = zeros(context, {2, 20}),
                 inverse_std = from_host(context, {2, 20}, std::vector<float>(40, 1.0f)), factors(context, {3, 2, 20});
    float* const f = factors.f32();
    batch_norm_merge_gradients(context.queue, shape,
                               {.sums = sample_sums.f32(),
                                .parts = 1,
                                .gamma = gamma.f32(),
                                .mean = mean.f32(),
                                .inverse_std = inverse_std.f32(),
                                .grad_gamma = sums[0],
                                .grad_beta = sums[1],
                                .gamma_second_moment = sums[2],
                                .beta_second_moment = sums[3],
                                .factors = {f, f + 40, f + 80}});
  });
}

TEST_CASE("gradient, second moment and signed sum of a convolution, each alone") {
  for (const ConvShape& shape : shapes) {
    INFO(describe(shape));
    check_subsets(3, shape.weights(), shape.batch * shape.positions(), [&](Context& context, const Sums& sums) {
      context.queue.set_precision(Precision::fp32);
      const Tensor x = from_host(context, {input_size(shape)}, random_tensor(input_size(shape), 1)),
                   grad_y = from_host(context, {output_size(shape)}, random_tensor(output_size(shape), 2)),
                   signs = from_host(context, {shape.batch, shape.out_channels},
                                     random_tensor(shape.batch * shape.out_channels, 3));
      conv_sample_sums(
          context.queue, shape, x.f32(), grad_y.f32(),
          SampleSums{.second_moment = sums[1], .signed_sum = sums[2], .signs = sums[2] ? signs.f32() : nullptr},
          sums[0]);
    });
  }
}

TEST_CASE("the spatial second moment of a convolution without its gradient") {
  for (const ConvShape& shape : shapes) {
    INFO(describe(shape));
    check_subsets(1, shape.weights(), shape.batch * shape.positions(), [&](Context& context, const Sums& sums) {
      context.queue.set_precision(Precision::fp32);
      const Tensor x = from_host(context, {input_size(shape)}, random_tensor(input_size(shape), 1)),
                   grad_y = from_host(context, {output_size(shape)}, random_tensor(output_size(shape), 2)),
                   squares = zeros(context, {shape.weights()}), with_gradient = zeros(context, {shape.weights()}),
                   gradient = zeros(context, {shape.weights()});
      conv_second_moment_spatial(context.queue, shape, x.f32(), grad_y.f32(), sums[0], squares.f32());
      conv_second_moment_spatial(context.queue, shape, x.f32(), grad_y.f32(), gradient.f32(), with_gradient.f32());
      CHECK(to_host<float>(context, squares) == to_host<float>(context, with_gradient));
    });
  }
}
