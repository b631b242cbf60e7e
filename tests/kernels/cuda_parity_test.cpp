// Ops on the CUDA device against the same ops on the CPU, which other tests compare with fp64 references. Convolutions,
// batch normalisation, NaN and infinity (cuda_extremes_test.cpp) are in other files. Every type of loop over more than
// the largest grid (kernels/cuda/grid.h) takes several rounds in some shape; grid_stride does in the ops on whole
// vectors.
#include <algorithm>
#include <array>
#include <cmath>

#include <noisysgd/kernels/bias.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/fisher_average.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/gram.h>
#include <noisysgd/kernels/moving_average.h>
#include <noisysgd/kernels/patches.h>
#include <noisysgd/kernels/pool.h>
#include <noisysgd/kernels/random.h>
#include <noisysgd/kernels/reduce.h>
#include <noisysgd/kernels/sgd_step.h>
#include <noisysgd/kernels/signs.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>
#include "tests/catch.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

TEST_CASE("elementwise ops agree to the bit on both devices") {
  BothQueues both;
  for (const int64_t n : {0, 1, 31, 33, 1025}) {
    CAPTURE(n);
    Floats x(random_tensor(n, 1)), grad(random_tensor(n, 2)), filled(nan_tensor(n)), relu(nan_tensor(n)),
        relu_grad(nan_tensor(n)), sum(random_tensor(n, 3)), dropped(nan_tensor(n));
    const RandomStream stream{7, 3, 5, RandomPurpose::dropout};
    both.run([&](Queue& q) {
      fill(q, n, 1.5f, filled.on(q));
      relu_forward(q, n, x.on(q), relu.on(q));
      relu_backward(q, n, relu.on(q), grad.on(q), relu_grad.on(q));
      add(q, n, x.on(q), sum.on(q));
      dropout(q, n, 0.3f, stream, 4 * static_cast<uint64_t>(n) + 3, x.on(q), dropped.on(q));
    });
    CHECK(filled.same_bits());
    CHECK(relu.same_bits());
    CHECK(relu_grad.same_bits());
    CHECK(sum.same_bits());
    CHECK(dropped.same_bits());
  }
}

TEST_CASE("ops on whole vectors agree on both devices") {
  BothQueues both;
  for (const int64_t n : {0, 1, 31, 33, 1025, 600'001}) {  // the last: more than one element per thread of the grid
    CAPTURE(n);
    Floats x(random_tensor(n, 1)), average(random_tensor(n, 2)), scaled(nan_tensor(n)), squared(random_tensor(n, 5)),
        q(random_tensor(n, 3, 1.0f)), fresh(nan_tensor(n)), kept(random_tensor(n, 4)), scaled_by_place(nan_tensor(n)),
        factor({0.3f});
    Mirrored<double> sums(std::vector<double>(8, NAN));
    both.run([&](Queue& queue) {
      moving_average(queue, n, 0.7f, x.on(queue), average.on(queue));
      scale(queue, n, -1.7f, x.on(queue), scaled.on(queue));
      scale(queue, n, Number<float>(2.0f, factor.on(queue)), x.on(queue), scaled_by_place.on(queue));
      add_square(queue, n, x.on(queue), squared.on(queue));
      fisher_average(queue, n, 0.3f, -0.2f, 0.0f, q.on(queue), x.on(queue), fresh.on(queue));
      fisher_average(queue, n, 0.3f, -0.2f, 0.6f, q.on(queue), x.on(queue), kept.on(queue));
      const std::vector<SummedTensor> tensors{{n, x.on(queue), 0}, {n / 2, q.on(queue), 0}, {n, q.on(queue), 2}};
      tensor_sums(queue, tensors, 4, sums.on(queue));
    });
    CHECK(average.same_bits());
    CHECK(scaled.same_bits());
    CHECK(scaled_by_place.same_bits());
    CHECK(squared.same_bits());
    CHECK(fresh.difference() == "");
    CHECK(kept.difference() == "");
    for (size_t i = 0; i < 8; ++i) CHECK(sums.on_cuda()[i] == Approx(sums.on_cpu()[i]).epsilon(1e-12));
  }
}

TEST_CASE("more tensors than one launch takes are summed as they are on the CPU") {
  BothQueues both;
  constexpr int64_t tensors = 2000, n = 3;
  Floats x(random_tensor(tensors * n, 1));
  Mirrored<double> sums(std::vector<double>(6, NAN));
  both.run([&](Queue& q) {
    std::vector<SummedTensor> all;
    for (int64_t i = 0; i < tensors; ++i) all.push_back({n, x.on(q) + i * n, static_cast<int32_t>(3 * i / tensors)});
    tensor_sums(q, all, 3, sums.on(q));
  });
  for (size_t i = 0; i < 6; ++i) CHECK(sums.on_cuda()[i] == Approx(sums.on_cpu()[i]).epsilon(1e-12));
}

TEST_CASE("signs agree to the bit on both devices") {
  BothQueues both;
  const SignGrain grain =
      GENERATE(SignGrain::sample, SignGrain::sample_channel, SignGrain::sample_position, SignGrain::element);
  for (const auto& [samples, positions, channels] :
       {std::array<int64_t, 3>{0, 3, 4}, {1, 1, 1}, {33, 5, 7}, {3, 31, 33}, {260, 1, 10}}) {
    CAPTURE(samples, positions, channels);
    const int64_t n = samples * positions * channels;
    Floats x(random_tensor(n, 1)), y(nan_tensor(n)), signs(nan_tensor(n));
    const RandomStream stream{7, 3, 5, RandomPurpose::noise_signs};
    both.run([&](Queue& q) {
      multiply_signs(q, {samples, positions, channels, grain, 1.5f, stream, 77}, x.on(q), y.on(q));
      multiply_signs(q, {samples, positions, channels, grain, 0.5f, stream, 77}, nullptr, signs.on(q));
    });
    CHECK(y.same_bits());
    CHECK(signs.same_bits());
  }
}

TEST_CASE("patches agree on both devices") {
  BothQueues both;
  for (const ConvShape& s : {ConvShape{0, 5, 5, 2, 3, 3, 3, 1, 1, 1, 1}, ConvShape{2, 7, 5, 3, 4, 3, 2, 2, 1, 1, 0},
                             ConvShape{3, 9, 9, 1, 2, 5, 5, 1, 1, 2, 2}}) {
    for (const bool homogeneous : {false, true}) {
      const int64_t columns = s.kernel_height * s.kernel_width * s.in_channels + (homogeneous ? 1 : 0);
      CAPTURE(s.batch, s.height, s.width, s.in_channels, columns);
      Floats x(random_tensor(input_size(s), 1)), patches(nan_tensor(s.batch * s.positions() * columns));
      both.run([&](Queue& q) { conv_patches(q, s, homogeneous, x.on(q), patches.on(q)); });
      CHECK(patches.same_bits());
    }
  }
}

TEST_CASE("layout changes and the option-A shortcut agree to the bit on both devices") {
  BothQueues both;
  struct Shape {
    int64_t batch, height, width, channels, stride, out_channels;
  };
  for (const Shape s : {Shape{0, 3, 3, 2, 1, 2},
                        {1, 1, 1, 1, 1, 1},
                        {3, 7, 5, 3, 2, 8},
                        {2, 33, 31, 33, 2, 40},
                        {5, 8, 8, 16, 2, 32},
                        {2, 9, 10, 1, 3, 1},
                        {2100, 2, 2, 3, 2, 5}}) {
    CAPTURE(s.batch, s.height, s.width, s.channels, s.stride, s.out_channels);
    const int64_t positions = s.height * s.width, size = s.batch * positions * s.channels;
    const int64_t out_rows = (s.height + s.stride - 1) / s.stride, out_columns = (s.width + s.stride - 1) / s.stride;
    const int64_t padded_size = s.batch * out_rows * out_columns * s.out_channels;
    Floats x(random_tensor(size, 1)), nchw(nan_tensor(size)), nhwc(nan_tensor(size)), padded(nan_tensor(padded_size)),
        grad(random_tensor(padded_size, 2)), grad_x(nan_tensor(size));
    both.run([&](Queue& q) {
      nhwc_to_nchw(q, s.batch, positions, s.channels, x.on(q), nchw.on(q));
      nchw_to_nhwc(q, s.batch, positions, s.channels, x.on(q), nhwc.on(q));
      const PadShape shape{s.batch, s.height, s.width, s.channels, s.stride, s.out_channels};
      pad_channels_forward(q, shape, x.on(q), padded.on(q));
      pad_channels_backward(q, shape, grad.on(q), grad_x.on(q));
    });
    CHECK(nchw.same_bits());
    CHECK(nhwc.same_bits());
    CHECK(padded.same_bits());
    CHECK(grad_x.same_bits());
  }
}

TEST_CASE("bias ops agree on both devices") {
  BothQueues both;
  struct Shape {
    int64_t samples, positions, channels;
  };
  for (const Shape s : {Shape{0, 3, 4},
                        {1, 1, 1},
                        {33, 1, 10},
                        {5, 31, 3},
                        {7, 33, 20},
                        {2, 65, 100},
                        {1025, 4, 33},
                        {2, 3000, 1},
                        {16'500, 1, 1},
                        {3, 70'001, 3}}) {
    CAPTURE(s.samples, s.positions, s.channels);
    const int64_t size = s.samples * s.positions * s.channels;
    Floats bias(random_tensor(s.channels, 1)), y(random_tensor(size, 2)), grad_y(random_tensor(size, 3, 0.5f)),
        gradient(random_tensor(s.channels, 4)), alone(random_tensor(s.channels, 4)),
        moment(random_tensor(s.channels, 5)), of_samples(nan_tensor(s.samples * s.channels)),
        rectified(random_tensor(size, 2)), unbiased(random_tensor(size, 2)), grad_z(nan_tensor(size)),
        in_place(random_tensor(size, 3, 0.5f)), mask_alone(nan_tensor(size)), masked(random_tensor(s.channels, 4)),
        masked_alone(random_tensor(s.channels, 4)), masked_moment(random_tensor(s.channels, 5));
    both.run([&](Queue& q) {
      bias_add(q, s.samples * s.positions, s.channels, bias.on(q), y.on(q));
      bias_add(q, s.samples * s.positions, s.channels, BiasEpilogue(bias.on(q), true), rectified.on(q));
      bias_add(q, s.samples * s.positions, s.channels, BiasEpilogue(nullptr, true), unbiased.on(q));
      bias_relu_backward(q, s.samples, s.positions, s.channels, rectified.on(q), grad_y.on(q), grad_z.on(q),
                         masked.on(q), masked_moment.on(q));
      bias_relu_backward(q, s.samples, s.positions, s.channels, rectified.on(q), in_place.on(q), in_place.on(q),
                         masked_alone.on(q), nullptr);
      bias_relu_backward(q, s.samples, s.positions, s.channels, rectified.on(q), grad_y.on(q), mask_alone.on(q),
                         nullptr, nullptr);
      bias_backward(q, s.samples, s.positions, s.channels, grad_y.on(q), gradient.on(q), moment.on(q));
      bias_backward(q, s.samples, s.positions, s.channels, grad_y.on(q), alone.on(q), nullptr);
      bias_sample_gradients(q, s.samples, s.positions, s.channels, grad_y.on(q), of_samples.on(q));
    });
    const Tolerance tolerance{.terms = static_cast<double>(s.samples * s.positions)};
    CHECK(of_samples.difference(tolerance) == "");
    for (Floats* const exact : {&y, &rectified, &unbiased, &grad_z, &in_place, &mask_alone}) CHECK(exact->same_bits());
    CHECK(in_place.on_cuda() == grad_z.on_cuda());
    CHECK(mask_alone.on_cuda() == grad_z.on_cuda());
    CHECK(masked.difference(tolerance) == "");
    CHECK(masked_moment.difference(tolerance) == "");
    CHECK(masked_alone.on_cuda() == masked.on_cuda());
    CHECK(gradient.difference(tolerance) == "");
    CHECK(moment.difference(tolerance) == "");
    CHECK(alone.on_cuda() == gradient.on_cuda());
  }
}

TEST_CASE("pooling agrees on both devices") {
  BothQueues both;
  for (const PoolShape s : {PoolShape{0, 4, 4, 3, 2, 2, 0},
                            {1, 1, 1, 1, 1, 1, 0},
                            {3, 7, 9, 5, 3, 2, 1},
                            {2, 8, 8, 33, 2, 2, 0},
                            {2, 11, 7, 3, 3, 1, 1},
                            {1, 9, 9, 4, 2, 3, 0},
                            {2, 5, 5, 2, 5, 5, 2},
                            {2100, 2, 2, 1, 2, 1, 1}}) {
    CAPTURE(s.batch, s.height, s.width, s.channels, s.kernel, s.stride, s.padding);
    const int64_t positions = s.height * s.width, in = s.batch * positions * s.channels;
    const int64_t out = s.batch * s.out_height() * s.out_width() * s.channels;
    std::vector<float> ties = random_tensor(in, 1);
    for (float& value : ties) value = std::round(4 * value);  // ties occur, so the first maximum matters
    Floats x(ties), y(nan_tensor(out)), no_index(nan_tensor(out)), average(nan_tensor(out)),
        grad(random_tensor(out, 2)), max_grad(nan_tensor(in)), max_tangent(nan_tensor(out)),
        average_grad(nan_tensor(in)), mean(nan_tensor(s.batch * s.channels)), mean_grad(nan_tensor(in));
    Mirrored<uint8_t> index(std::vector<uint8_t>(static_cast<size_t>(out), 0xff));
    both.run([&](Queue& q) {
      max_pool_forward(q, s, x.on(q), y.on(q), index.on(q));
      max_pool_forward(q, s, x.on(q), no_index.on(q), nullptr);
      max_pool_backward(q, s, index.on(q), grad.on(q), max_grad.on(q));
      max_pool_tangent(q, s, index.on(q), x.on(q), max_tangent.on(q));
      average_pool_forward(q, s, x.on(q), average.on(q));
      average_pool_backward(q, s, grad.on(q), average_grad.on(q));
      global_average_pool_forward(q, s.batch, positions, s.channels, x.on(q), mean.on(q));
      global_average_pool_backward(q, s.batch, positions, s.channels, mean.on(q), mean_grad.on(q));
    });
    CHECK(y.same_bits());
    CHECK(no_index.same_bits());
    CHECK(index.same_bits());
    CHECK(max_tangent.on_cuda() == y.on_cuda());  // of x itself
    CHECK(max_grad.difference({.terms = 9}) == "");
    CHECK(average.difference({.terms = 25}) == "");
    CHECK(average_grad.difference({.terms = 9}) == "");
    CHECK(mean.difference({.terms = static_cast<double>(positions)}) == "");
    CHECK(mean_grad.difference({.terms = static_cast<double>(positions)}) == "");
  }
}

TEST_CASE("random numbers agree on both devices: uniforms to the bit, normals to rounding") {
  BothQueues both;
  const RandomStream stream{0x123456789abcdefull, 4, 9, RandomPurpose::initialisation};
  for (const int64_t n : {0, 1, 31, 33, 1025, 40001}) {
    CAPTURE(n);
    Floats normal(nan_tensor(n)), uniform(nan_tensor(n));
    both.run([&](Queue& q) {
      random_normal(q, n, 0.5f, 2.0f, stream, normal.on(q));
      random_uniform(q, n, -0.3f, 0.7f, stream, uniform.on(q));
    });
    CHECK(uniform.same_bits());
    CHECK(normal.difference({.terms = 4}) == "");  // a few units in the last place of either
  }
}

TEST_CASE("matrix products and the linear second moment agree on both devices") {
  BothQueues both;
  struct Shape {
    int64_t m, n, k;
  };
  for (const Shape s : {Shape{1, 1, 1}, {31, 33, 17}, {10, 65, 100}, {5, 3, 0}, {0, 3, 2}, {130, 40, 1025}})
    for (const Transpose ta : {Transpose::no, Transpose::yes})
      for (const Transpose tb : {Transpose::no, Transpose::yes}) {
        CAPTURE(s.m, s.n, s.k, ta == Transpose::yes, tb == Transpose::yes);
        Floats a(random_tensor(s.m * s.k, 1)), b(random_tensor(s.k * s.n, 2)), c(random_tensor(s.m * s.n, 3)),
            fresh(nan_tensor(s.m * s.n)), moment(random_tensor(s.m * s.n, 4)), products(random_tensor(s.m * s.m, 5));
        both.run([&](Queue& q) {
          gemm(q, ta, tb, s.m, s.n, s.k, 0.7f, a.on(q), b.on(q), 1.3f, c.on(q));
          gemm(q, ta, tb, s.m, s.n, s.k, 1.0f, a.on(q), b.on(q), 0.0f, fresh.on(q));
          linear_second_moment(q, s.k, s.m, s.n, b.on(q), a.on(q), moment.on(q));
          gram(q, s.k, s.m, a.on(q), products.on(q));
        });
        const Tolerance tolerance{.terms = static_cast<double>(s.k)};
        CHECK(c.difference(tolerance) == "");
        if (s.k > 0) CHECK(fresh.difference(tolerance) == "");
        if (s.k == 0) CHECK(fresh.same_bits());
        CHECK(moment.difference(tolerance) == "");
        CHECK(products.difference(tolerance) == "");
      }
}

TEST_CASE("the loss, its gradient and its sums agree on both devices") {
  BothQueues both;
  struct Shape {
    int64_t samples, classes;
    float smoothing, scale;
  };
  for (const Shape s : {Shape{0, 3, 0, 1},
                        {1, 1, 0, 1},
                        {33, 10, 0, 1},
                        {31, 10, 0.1f, 5},
                        {1025, 33, 0, 30},
                        {9, 100, 0.2f, 1},
                        Shape{2500, 3, 0.1f, 1}}) {
    CAPTURE(s.samples, s.classes, s.smoothing, s.scale);
    const int64_t size = s.samples * s.classes;
    Floats logits(random_tensor(size, 1, 0, s.scale)), weights(random_tensor(s.samples, 2)), grad(nan_tensor(size)),
        losses(nan_tensor(s.samples)), in_place(random_tensor(size, 1, 0, s.scale));
    Mirrored<int32_t> labels(random_integers(s.samples, 3, static_cast<uint32_t>(s.classes))),
        drawn(std::vector<int32_t>(static_cast<size_t>(s.samples), -1));
    Mirrored<LossSums> all_sums({LossSums{.loss = 2, .samples = 5}}), all_plain({LossSums{}});
    both.run([&](Queue& q) {
      softmax_cross_entropy(q, {s.samples, s.classes, labels.on(q), weights.on(q)}, s.smoothing, logits.on(q),
                            grad.on(q), losses.on(q), all_sums.on(q));
      softmax_cross_entropy(q, {s.samples, s.classes, labels.on(q)}, s.smoothing, logits.on(q), nullptr, nullptr,
                            all_plain.on(q));
      softmax_cross_entropy(q, {s.samples, s.classes, labels.on(q), weights.on(q)}, s.smoothing, in_place.on(q),
                            in_place.on(q), nullptr, all_plain.on(q));
      sample_labels(q, s.samples, s.classes, logits.on(q), RandomStream{5, 1, 2, RandomPurpose::fisher_labels}, 11,
                    drawn.on(q));
    });
    if (s.classes > 1) CHECK(grad.difference({.terms = static_cast<double>(s.classes)}) == "");
    if (s.classes > 1) CHECK(losses.difference({.terms = static_cast<double>(s.classes)}) == "");
    CHECK(in_place.on_cuda() == grad.on_cuda());
    CHECK(drawn.same_bits());
    const LossSums sums[] = {all_sums.on_cpu()[0], all_sums.on_cuda()[0]};
    const LossSums plain[] = {all_plain.on_cpu()[0], all_plain.on_cuda()[0]};
    CHECK(sums[1].samples == 5 + s.samples);
    CHECK(sums[1].nonfinite == 0);
    CHECK(sums[1].correct == sums[0].correct);
    CHECK(plain[1].correct == plain[0].correct);
    const double scale = s.samples * 1e-6 * (1 + s.scale);  // of single-precision exponentials
    CHECK(std::abs(sums[1].loss - sums[0].loss) <= scale);
    CHECK(std::abs(sums[1].weighted_loss - sums[0].weighted_loss) <= scale);
    CHECK(std::abs(plain[1].loss - plain[0].loss) <= 2 * scale);
  }
}

TEST_CASE("the first of equal logits is the prediction on both devices") {
  BothQueues both;
  for (const int64_t classes : {3, 31, 33, 100}) {
    CAPTURE(classes);
    constexpr int64_t samples = 200;
    std::vector<float> rounded = random_tensor(samples * classes, 1);
    for (float& value : rounded) value = std::round(value);
    std::vector<int32_t> first_maxima;
    for (int64_t n = 0; n < samples; ++n) {
      const auto row = rounded.begin() + n * classes;
      first_maxima.push_back(static_cast<int32_t>(std::max_element(row, row + classes) - row));
    }
    Floats logits(rounded);
    Mirrored<int32_t> labels(first_maxima);
    Mirrored<LossSums> sums({LossSums{}});
    both.run([&](Queue& q) {
      softmax_cross_entropy(q, {samples, classes, labels.on(q)}, 0, logits.on(q), nullptr, nullptr, sums.on(q));
    });
    CHECK(sums.on_cpu()[0].correct == samples);
    CHECK(sums.on_cuda()[0].correct == samples);
  }
}

TEST_CASE("a label that is no class is an error on the CUDA device too") {
  BothQueues both;
  Floats logits(random_tensor(60, 1)), grad(nan_tensor(60));
  Mirrored<int32_t> labels(std::vector<int32_t>{0, 1, 2, 3, 2, 1, 0, 1, 2, 0, 1, 3, 0, 0, 0, 0, 0, 0, 3, 0});
  Mirrored<LossSums> sums({LossSums{.samples = 100}});
  softmax_cross_entropy(both.cuda, {20, 3, labels.on(both.cuda)}, 0, logits.on(both.cuda), grad.on(both.cuda), nullptr,
                        sums.on(both.cuda));
  both.cuda.synchronize();
  CHECK_THROWS_WITH(check(sums.on_cuda()[0]), Catch::Matchers::Contains("sample 103 has a label"));
}

TEST_CASE("the noisy step and its norms agree on both devices") {
  BothQueues both;
  // Three tensors, one of them empty, one at an address that no float4 can take, one longer than a block's piece.
  const std::vector<int64_t> sizes = {1025, 0, 5000};
  for (const bool nesterov : {false, true})
    for (const bool after : {false, true})
      for (const bool with_velocity : {false, true})
        for (const NoiseCoefficients noise :
             {NoiseCoefficients{}, {0.01f, 0, 0}, {0, 0.5f, -0.1f}, {0.1f, 0.2f, 0.3f}}) {
          CAPTURE(nesterov, after, with_velocity, noise.constant, noise.second_moment, noise.gradient_sum);
          constexpr int64_t n = 7000;
          Floats value(random_tensor(n, 1)), velocity(random_tensor(n, 2)), gradient(random_tensor(n, 3)),
              moment(random_tensor(n, 4, 1)), given(random_tensor(n, 5)), drawn(nan_tensor(n));
          const SgdHyperparameters h{.learning_rate = 0.1f,
                                     .momentum = with_velocity ? 0.9f : 0.0f,
                                     .inverse_batch = 0.25f,
                                     .nesterov = nesterov,
                                     .noise_after_momentum = after,
                                     .seed = 99,
                                     .step = 12};
          Mirrored<StepNorms> all_norms({StepNorms{}});
          Mirrored<double> clip({0.25});
          Mirrored<float> factors({3.0f, 0.5f, 0.2f});
          Mirrored<uint32_t> steps({12, 0, 1});
          both.run([&](Queue& q) {
            // In the second call every number that can be in device memory is there; the third call is halted.
            SgdHyperparameters placed = h;
            placed.learning_rate = {0, factors.on(q) + 2};
            placed.gradient_factor = {0, clip.on(q)};
            placed.step = {0, steps.on(q)};
            placed.halted = {1, steps.on(q) + 1};
            SgdHyperparameters halted = h;
            halted.halted = {0, steps.on(q) + 2};
            std::vector<SgdSegment> segments;
            int64_t first = 0;
            for (size_t i = 0; i < sizes.size(); ++i) {
              segments.push_back({.n = sizes[i],
                                  .value = value.on(q) + first,
                                  .velocity = with_velocity ? velocity.on(q) + first : nullptr,
                                  .gradient_sum = gradient.on(q) + first,
                                  .noise = {.variance = noise,
                                            .second_moment = moment.on(q) + first,
                                            .vector = i == 0 ? given.on(q) : nullptr},
                                  .weight_decay = 0.01f,
                                  .tensor = static_cast<uint32_t>(i)});
              first += sizes[i] + 1;
            }
            for (const SgdSegment& segment : segments)
              draw_noise(q, NoiseDraw{segment.n, segment.gradient_sum, segment.noise, h.seed, h.step, segment.tensor},
                         drawn.on(q) + (segment.value - value.on(q)));
            sgd_step(q, segments, h, all_norms.on(q));
            for (SgdSegment& segment : segments) {
              segment.noise.variance_factor = factors.on(q);
              segment.noise.match_factor = factors.on(q) + 1;
            }
            sgd_step(q, segments, placed, all_norms.on(q));
            sgd_step(q, segments, halted, all_norms.on(q));
            sgd_step(q, segments, h, nullptr);
          });
          const StepNorms norms[] = {all_norms.on_cpu()[0], all_norms.on_cuda()[0]};
          CHECK(value.difference({.terms = 16}) == "");
          CHECK(velocity.difference({.terms = 16}) == "");
          CHECK(drawn.difference({.terms = 16}) == "");
          CHECK(std::abs(norms[1].gradient_squared - norms[0].gradient_squared) <= 1e-6 * norms[0].gradient_squared);
          CHECK(std::abs(norms[1].noise_squared - norms[0].noise_squared) <= 1e-6 * norms[0].noise_squared);
        }
}

TEST_CASE("more tensors than one launch takes step as they do on the CPU") {
  BothQueues both;
  constexpr int64_t tensors = 900, n = 3;
  Floats value(random_tensor(tensors * n, 1)), gradient(random_tensor(tensors * n, 2));
  Mirrored<StepNorms> all_norms({StepNorms{}});
  both.run([&](Queue& q) {
    std::vector<SgdSegment> segments;
    for (int64_t i = 0; i < tensors; ++i)
      segments.push_back({.n = n,
                          .value = value.on(q) + i * n,
                          .gradient_sum = gradient.on(q) + i * n,
                          .noise = {.variance = {.constant = 0.5f}},
                          .tensor = static_cast<uint32_t>(i)});
    sgd_step(q, segments, SgdHyperparameters{.learning_rate = 0.5f, .inverse_batch = 1, .seed = 3}, all_norms.on(q));
  });
  const StepNorms norms[] = {all_norms.on_cpu()[0], all_norms.on_cuda()[0]};
  CHECK(value.difference({.terms = 16}) == "");
  CHECK(std::abs(norms[1].gradient_squared - norms[0].gradient_squared) <= 1e-6 * norms[0].gradient_squared);
  CHECK(std::abs(norms[1].noise_squared - norms[0].noise_squared) <= 1e-6 * norms[0].noise_squared);
}
