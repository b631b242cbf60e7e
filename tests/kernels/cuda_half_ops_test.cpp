// Ops on values stored in fp16 and gradients stored in bf16 on the CUDA device, against the CPU's on the same numbers
// in fp32.
#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/bias.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/pool.h>
#include "tests/catch.h"
#include "tests/kernels/stored_array.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;
using Array = StoredArray;

namespace {

Array values(int64_t n, uint32_t stream, float offset = 0) { return {DType::f16, random_tensor(n, stream, offset)}; }
Array gradients(int64_t n, uint32_t stream) { return {DType::bf16, random_tensor(n, stream)}; }
Array empty(DType type, int64_t n) { return {type, nan_tensor(n)}; }

}  // namespace

TEST_CASE("elementwise ops on 16-bit elements agree in every size and alignment") {
  BothQueues both;
  const RandomStream stream{3, 1, 4, RandomPurpose::dropout};
  for (const int64_t n : {0, 1, 3, 7, 8, 9, 17, 255, 2049})
    for (const int64_t at : {0, 1, 4}) {
      CAPTURE(n, at);
      const int64_t size = n + at;
      Array x = values(size, 1), y = empty(DType::f16, size), grad_y = gradients(size, 2),
            grad_x = empty(DType::bf16, size), sum = gradients(size, 3), dropped = empty(DType::f16, size),
            grad_dropped = empty(DType::bf16, size), grad_dropped_whole = empty(DType::bf16, size),
            value_sum = values(size, 4);
      both.run([&](Queue& q) {
        relu_forward(q, n, x.on(q, at), y.on(q, at));
        relu_backward(q, n, y.on(q, at), grad_y.on(q, at), grad_x.on(q, at));
        add(q, n, grad_y.on(q, at), sum.on(q, at));
        add(q, n, x.on(q, at), value_sum.on(q, at));
        dropout(q, n, 0.4f, stream, 8, x.on(q, at), dropped.on(q, at));
        dropout(q, n, 0.4f, stream, 5, grad_y.on(q, at), grad_dropped.on(q, at));
        dropout(q, n, 0.4f, stream, 12, grad_y.on(q, at), grad_dropped_whole.on(q, at));  // whole Philox blocks
      });
      CHECK(y.on_cpu().size() == y.on_cuda().size());
      if (n < 3) continue;  // a result may be 0
      for (const Array* array : {&y, &grad_x, &sum, &value_sum, &dropped, &grad_dropped, &grad_dropped_whole})
        CHECK(array->difference(0) == "");
    }
}

TEST_CASE("layout changes of 16-bit elements are exact") {
  BothQueues both;
  for (const int64_t channels : {1, 3, 8, 33})
    for (const int64_t positions : {1, 4, 35}) {
      CAPTURE(channels, positions);
      const int64_t n = 3 * positions * channels;
      Array x = values(n, 1), grad_x = empty(DType::bf16, n);
      Floats y(nan_tensor(n)), grad_y(gradients(n, 2).on_cpu());
      both.run([&](Queue& q) {
        nhwc_to_nchw(q, 3, positions, channels, x.on(q), y.on(q));
        nchw_to_nhwc(q, 3, positions, channels, grad_y.on(q), grad_x.on(q));
      });
      CHECK(y.same_bits());
      CHECK(grad_x.on_cuda() == grad_x.on_cpu());
    }
  for (const PadShape s : {PadShape{2, 4, 5, 8, 2, 16}, {3, 5, 5, 3, 1, 4}, {2, 4, 4, 12, 2, 24}}) {
    CAPTURE(s.in_channels, s.stride);
    const int64_t in = s.batch * s.height * s.width * s.in_channels;
    const int64_t out = s.batch * ((s.height - 1) / s.stride + 1) * ((s.width - 1) / s.stride + 1) * s.out_channels;
    Array x = values(in, 1), y = empty(DType::f16, out), grad_y = gradients(out, 2), grad_x = empty(DType::bf16, in);
    both.run([&](Queue& q) {
      pad_channels_forward(q, s, x.on(q), y.on(q));
      pad_channels_backward(q, s, grad_y.on(q), grad_x.on(q));
    });
    CHECK(y.on_cuda() == y.on_cpu());
    CHECK(grad_x.on_cuda() == grad_x.on_cpu());
  }
}

TEST_CASE("pooling of 16-bit elements agrees") {
  BothQueues both;
  for (const PoolShape s : {PoolShape{2, 6, 6, 8, 2, 2, 0}, {3, 7, 6, 5, 3, 2, 1}, {2, 5, 5, 16, 3, 1, 1}}) {
    CAPTURE(s.height, s.channels, s.kernel);
    const int64_t in = s.batch * s.height * s.width * s.channels,
                  out = s.batch * s.out_height() * s.out_width() * s.channels, pooled = s.batch * s.channels;
    Array x = values(in, 1), largest = empty(DType::f16, out), mean = empty(DType::f16, out),
          grad_y = gradients(out, 2), grad_largest = empty(DType::bf16, in), grad_mean = empty(DType::bf16, in),
          grad_global = empty(DType::bf16, in);
    Mirrored<uint8_t> index(std::vector<uint8_t>(static_cast<size_t>(out), 99));
    Floats global(nan_tensor(pooled)), grad_pooled(random_tensor(pooled, 3));
    both.run([&](Queue& q) {
      max_pool_forward(q, s, x.on(q), largest.on(q), index.on(q));
      max_pool_backward(q, s, index.on(q), grad_y.on(q), grad_largest.on(q));
      average_pool_forward(q, s, x.on(q), mean.on(q));
      average_pool_backward(q, s, grad_y.on(q), grad_mean.on(q));
      global_average_pool_forward(q, s.batch, s.height * s.width, s.channels, x.on(q), global.on(q));
      global_average_pool_backward(q, s.batch, s.height * s.width, s.channels, grad_pooled.on(q), grad_global.on(q));
    });
    CHECK(largest.on_cuda() == largest.on_cpu());
    CHECK(index.same_bits());
    for (const Array* array : {&grad_largest, &mean, &grad_mean, &grad_global}) CHECK(array->difference(1e-6) == "");
    CHECK(global.difference({.terms = 49}) == "");
  }
}

TEST_CASE("biases of 16-bit activations and their gradients agree") {
  BothQueues both;
  for (const auto& [samples, positions, channels] : {std::array<int64_t, 3>{5, 9, 16}, {3, 7, 5}, {9, 1, 40}}) {
    CAPTURE(samples, positions, channels);
    const int64_t n = samples * positions * channels;
    Array y = values(n, 1), clipped = values(n, 1), output = values(n, 2), grad_y = gradients(n, 3),
          grad_z = empty(DType::bf16, n);
    Floats bias(random_tensor(channels, 4)), sums(random_tensor(4 * channels, 5)), each(nan_tensor(samples * channels));
    both.run([&](Queue& q) {
      float* const s = sums.on(q);
      bias_add(q, samples * positions, channels, bias.on(q), y.on(q));
      bias_add(q, samples * positions, channels, BiasEpilogue(bias.on(q), true), clipped.on(q));
      bias_backward(q, samples, positions, channels, grad_y.on(q), s, s + channels);
      bias_relu_backward(q, samples, positions, channels, output.on(q), grad_y.on(q), grad_z.on(q), s + 2 * channels,
                         s + 3 * channels);
      bias_sample_gradients(q, samples, positions, channels, grad_y.on(q), each.on(q));
    });
    CHECK(y.difference(1e-6) == "");
    CHECK(clipped.difference(1e-6) == "");
    CHECK(grad_z.on_cuda() == grad_z.on_cpu());
    CHECK(sums.difference({.terms = 100}) == "");
    CHECK(each.difference({.terms = 10}) == "");
    Array masked = empty(DType::bf16, n);
    both.run([&](Queue& q) {
      bias_relu_backward(q, samples, positions, channels, output.on(q), grad_y.on(q), masked.on(q), nullptr, nullptr);
    });
    CHECK(masked.on_cuda() == masked.on_cpu());
  }
}

TEST_CASE("batch normalisation of 16-bit activations agrees") {
  BothQueues both;
  for (const BatchNormShape s :
       {BatchNormShape{6, 5, 8, 3}, {4, 33, 16, 2}, {6, 7, 5, 3}, {8, 1, 24, 4}, {3, 300, 16, 3}, {4, 9, 264, 2}})
    for (const bool relu : {false, true})
      for (const bool adds : {false, true}) {
        CAPTURE(s.samples, s.positions, s.channels, relu, adds);
        const int64_t n = s.samples * s.positions * s.channels, c = s.channels, g = s.groups() * c;
        Array x = values(n, 1, 2.0f), addend = values(n, 2), y = empty(DType::f16, n), grad_y = gradients(n, 3),
              other = gradients(n, 4), grad_addend = empty(DType::bf16, n), grad_x = empty(DType::bf16, n);
        Floats gamma(random_tensor(c, 5, 1)), beta(random_tensor(c, 6)), running(random_tensor(2 * c, 7, 2)),
            mean(nan_tensor(g)), inverse_std(nan_tensor(g)), sums(random_tensor(4 * c, 8));
        both.run([&](Queue& q) {
          batch_norm_forward(q, s,
                             {.epsilon = 1e-5f,
                              .gamma = gamma.on(q),
                              .beta = beta.on(q),
                              .momentum = 0.1f,
                              .running_mean = running.on(q),
                              .running_variance = running.on(q) + c,
                              .mean = mean.on(q),
                              .inverse_std = inverse_std.on(q),
                              .epilogue = {adds ? addend.on(q) : Values(), relu}},
                             x.on(q), y.on(q));
        });
        CHECK(y.difference() == "");
        for (const Floats* statistics : {&mean, &inverse_std, &running})
          CHECK(statistics->difference({.terms = 1000}) == "");
        // The saved output decides the sign on both devices: the same numbers.
        Array output{DType::f16, y.on_cuda()};
        both.run([&](Queue& q) {
          float* const p = sums.on(q);
          batch_norm_backward(q, s,
                              {.x = x.on(q),
                               .gamma = gamma.on(q),
                               .mean = mean.on(q),
                               .inverse_std = inverse_std.on(q),
                               .grad_y = grad_y.on(q),
                               .other_grad_y = adds ? other.on(q) : Values(),
                               .relu_output = adds && relu ? output.on(q) : Values(),
                               .grad_gamma = p,
                               .grad_beta = p + c,
                               .gamma_second_moment = p + 2 * c,
                               .beta_second_moment = p + 3 * c,
                               .grad_addend = adds ? grad_addend.on(q) : Values(),
                               .grad_x = grad_x.on(q)});
        });
        if (adds) CHECK(grad_addend.difference(0) == "");
        // The second pass reads the sum of two gradients as it is stored, and large factors gamma inverse_std scale it.
        const double stored = adds ? 0x1p-5 : 0;
        CHECK(grad_x.difference(stored + 2e-4) == "");
        CHECK(sums.difference({.terms = 1e4}) == "");
      }
}

TEST_CASE("ops refuse arrays whose types do not belong together, by their name") {
  Queue queue({Backend::cuda});
  Array x = values(8, 1), grad = gradients(8, 2);
  Floats floats(random_tensor(8, 3));
  CHECK_THROWS_WITH(relu_forward(queue, 8, x.on(queue), floats.on(queue)),
                    "relu_forward: an array of f32 where one of f16 is expected");
  CHECK_THROWS_WITH(relu_backward(queue, 8, grad.on(queue), grad.on(queue), grad.on(queue)),
                    "relu_backward: an array of bf16 where one of f16 is expected");
  CHECK_THROWS_WITH(add(queue, 8, x.on(queue), grad.on(queue)), "add: an array of f16 where one of bf16 is expected");
  CHECK_THROWS_WITH(bias_backward(queue, 8, 1, 1, x.on(queue), floats.on(queue), nullptr),
                    "bias_backward: an array of f16 where one of bf16 is expected");
  CHECK_THROWS_WITH(scale(queue, 8, 2.0f, x.on(queue), floats.on(queue)), "scale takes arrays of f32, not of f16");
}
