// The CUDA kernels of the weight gradient and its second moments, each on its shapes, against fp64.
#include <fmt/format.h>

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/convert.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/conv_wgmma.h>
#include <noisysgd/kernels/cuda/state.h>
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/mirrored.h"
#include "tests/reference/second_moment_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;
using cuda::ConvRoute;

using Floats = Mirrored<float>;

namespace {

ConvShape square(int64_t batch, int64_t size, int64_t in, int64_t out, int64_t stride = 1, int64_t kernel = 3) {
  const int64_t padding = kernel / 2;
  return {batch, size, size, in, out, kernel, kernel, stride, stride, padding, padding};
}

// On the GPUs that the kernels are tuned for.
ConvRoute route_of(const ConvShape& s, SecondMoment kind, Precision precision) {
  return cuda::conv_route(s, kind, precision, 227 * 1024);
}

// The sum that a pass computes in addition to the gradient: a second moment, or the signed gradients.
struct Beside {
  SecondMoment kind = SecondMoment::none;
  bool signs = false;
  bool any() const { return signs || kind != SecondMoment::none; }
};
constexpr Beside nothing, exact{SecondMoment::exact}, spatial{SecondMoment::spatial}, signs{.signs = true};

std::ostream& operator<<(std::ostream& stream, const Beside& beside) {
  return stream << (beside.signs ? "signs" : name_of(beside.kind));
}

struct Sums {
  std::vector<float> gradient, beside;
};

// +-1/2 for each sample and output channel.
std::vector<float> signs_of(const ConvShape& s) {
  std::vector<float> signs = random_tensor(s.batch * s.out_channels, 7);
  for (float& sign : signs) sign = sign < 0 ? -0.5f : 0.5f;
  return signs;
}

struct Layer {
  Layer(const ConvShape& s, std::vector<float> x_values, std::vector<float> grad_values)
      : shape(s), x(std::move(x_values)), grad_y(std::move(grad_values)), sample_signs(signs_of(s)) {}

  // On outputs that hold `before`; the offsets move x and grad_y, for addresses that are not aligned.
  Sums run(Queue& queue, const Beside& wanted, float before, int64_t x_offset = 0, int64_t grad_offset = 0) {
    const std::vector<float> prefill(static_cast<size_t>(shape.weights()), before);
    Floats sum(prefill), beside(prefill);
    const float *from_x = x.on(queue) + x_offset, *from_grad = grad_y.on(queue) + grad_offset;
    if (!wanted.any())
      conv_backward_weight_direct(queue, shape, from_x, from_grad, sum.on(queue));
    else if (wanted.kind == SecondMoment::exact)
      conv_second_moment_exact(queue, shape, from_x, from_grad, sum.on(queue), beside.on(queue));
    else if (wanted.signs)
      conv_sample_sums(queue, shape, from_x, from_grad,
                       SampleSums{.signed_sum = beside.on(queue), .signs = sample_signs.on(queue)}, sum.on(queue));
    else
      conv_second_moment_spatial(queue, shape, from_x, from_grad, sum.on(queue), beside.on(queue));
    queue.synchronize();
    return {sum.on_cuda(), beside.on_cuda()};
  }

  ConvShape shape;
  Floats x, grad_y, sample_signs;
};

std::vector<float> plus(float before, const std::vector<double>& values) {
  std::vector<float> result;
  for (const double value : values) result.push_back(static_cast<float>(before + value));
  return result;
}

const std::vector<double>& beside_of(const SecondMomentReference& reference, const Beside& wanted) {
  if (wanted.signs) return reference.signed_sum;
  return wanted.kind == SecondMoment::exact ? reference.exact : reference.spatial;
}

const std::vector<Beside> everything{nothing, exact, spatial, signs};

// Empty if they are the same to the bit. (Catch would write out arrays of a million numbers.)
std::string difference(const std::vector<float>& actual, const std::vector<float>& expected) {
  for (size_t i = 0; i < expected.size(); ++i)
    if (actual[i] != expected[i]) return fmt::format("[{}] is {}, expected {}", i, actual[i], expected[i]);
  return "";
}

// Values that every format represents are not rounded at all.
void check_exact_values(Queue& queue, const ConvShape& s, const std::vector<Beside>& tried = everything) {
  const std::vector<float> x = halves(random_tensor(input_size(s), 1, 0.3f)),
                           grad_y = halves(random_tensor(output_size(s), 2, 0.1f));
  const SecondMomentReference reference = second_moment_reference(s, x, grad_y, signs_of(s));
  Layer layer(s, x, grad_y);
  for (const Beside& wanted : tried) {
    CAPTURE(wanted);
    const Sums result = layer.run(queue, wanted, 0.5f);
    CHECK(difference(result.gradient, plus(0.5f, reference.sum)) == "");
    if (wanted.any()) CHECK(difference(result.beside, plus(0.5f, beside_of(reference, wanted))) == "");
  }
}

// The error of a sum of products, relative to its root mean square. Where operands are rounded, each with the unit
// roundoff u, a product is off by 0.6 u in the root mean square and single sums by five times that; a square doubles
// the relative error.
double promised_error(Precision precision) { return precision == Precision::fp32 ? 1e-5 : 3 * 0x1p-11; }
constexpr double promised_by_bf16 = 3 * 0x1p-8;

// Results are as accurate as the precision allows, and not more accurate if it rounds: tensor cores computed them.
void check_rounding(Queue& queue, const ConvShape& s, double promised, const std::vector<Beside>& tried = everything) {
  const std::vector<float> x = random_tensor(input_size(s), 1, 0.3f), grad_y = random_tensor(output_size(s), 2, 0.1f);
  const SecondMomentReference reference = second_moment_reference(s, x, grad_y, signs_of(s));
  Layer layer(s, x, grad_y);
  for (const Beside& wanted : tried) {
    CAPTURE(wanted);
    const Sums result = layer.run(queue, wanted, 0);
    CHECK(compare(result.gradient, reference.sum, within(promised)) == "");
    const bool rounds = queue.precision() != Precision::fp32;
    CHECK((compare(result.gradient, reference.sum, within(promised / 100)) != "") >= rounds);
    if (!wanted.any()) continue;
    const double factor = wanted.signs ? 1 : 2;
    CHECK(compare(result.beside, beside_of(reference, wanted), within(factor * promised)) == "");
    CHECK((compare(result.beside, beside_of(reference, wanted), within(promised / 100)) != "") >= rounds);
  }
}

}  // namespace

TEST_CASE("the window kernel is exact up to the rounding of its operands") {
  Queue queue({Backend::cuda, 0});
  // Every tiling of every precision.
  for (const ConvShape& s : {square(3, 32, 16, 16), square(2, 32, 32, 64), square(3, 16, 32, 32), square(2, 16, 32, 64),
                             square(3, 8, 64, 64), square(1, 8, 32, 32), square(5, 4, 32, 128),
                             square(4, 32, 16, 32, 2), square(2, 16, 32, 64, 2), square(3, 8, 16, 32, 2)})
    for (const Precision precision : precisions) {
      CAPTURE(precision, s.batch, s.height, s.in_channels, s.out_channels, s.stride_height);
      queue.set_precision(precision);
      CHECK(route_of(s, SecondMoment::exact, precision) == ConvRoute::window);
      check_exact_values(queue, s);
      check_rounding(queue, s, promised_error(queue.precision()));
    }
}

TEST_CASE("the window kernel handles more samples than it has shares, and incomplete items") {
  Queue queue({Backend::cuda, 0});
  for (const ConvShape& s : {square(266, 4, 64, 64), square(401, 8, 16, 32, 2)})
    for (const Precision precision : precisions) {
      CAPTURE(precision, s.batch);
      queue.set_precision(precision);
      CHECK(route_of(s, SecondMoment::exact, precision) == ConvRoute::window);
      check_exact_values(queue, s);
    }
}

TEST_CASE("asynchronous products are exact up to the rounding of their operands, where they are chosen") {
  const Variable chosen("NSGD_WGMMA", "1");
  Queue queue({Backend::cuda, 0});
  if (!queue.cuda().wgmma() && !cuda_emulated) return;  // not of compute capability 9.0
  REQUIRE(queue.cuda().wgmma());
  // Signed sums and spatial moments are left to the window kernel.
  for (const ConvShape& s : {square(1, 4, 32, 64), square(11, 4, 96, 128), square(6, 8, 64, 64), square(2, 8, 32, 128),
                             square(2, 16, 64, 64), square(2, 32, 32, 64)}) {
    CAPTURE(s.batch, s.height, s.in_channels, s.out_channels);
    for (const SecondMoment kind : {SecondMoment::none, SecondMoment::exact}) {
      CHECK(cuda::conv_route(s, kind, Precision::half, 227 * 1024, true) == ConvRoute::wgmma);
      CHECK(cuda::conv_route(s, kind, Precision::tf32, 227 * 1024, true) == ConvRoute::window);
    }
    CHECK(cuda::conv_route(s, SecondMoment::spatial, Precision::half, 227 * 1024, true) == ConvRoute::window);
    queue.set_precision(Precision::half);
    check_exact_values(queue, s);
    if (s.batch > 1) check_rounding(queue, s, promised_by_bf16, {nothing, exact});  // one sample: too few terms at the corners
  }
}

// Rounded to bf16 on the device.
struct Bf16Array {
  Bf16Array(Queue& queue, const std::vector<float>& values)
      : given(values), stored(std::vector<uint16_t>(values.size())) {
    convert(queue, static_cast<int64_t>(values.size()), given.on(queue), {stored.on(queue), DType::bf16});
  }
  Floats given;
  Mirrored<uint16_t> stored;
};

TEST_CASE("asynchronous products of more items than the ring has stages, and of incomplete ones") {
  Queue queue({Backend::cuda, 0});
  if (!queue.cuda().has_wgmma()) return;
  struct Try {
    ConvShape shape;
    int64_t shares;
  };
  for (const auto& [s, shares] : {Try{square(37, 4, 32, 64), 1},
                                  {square(67, 4, 32, 64), 2},
                                  {square(21, 8, 32, 64), 1},
                                  {square(27, 8, 32, 64), 2},
                                  {square(7, 16, 32, 64), 1},
                                  {square(3, 32, 32, 64), 1},
                                  {square(2, 32, 32, 64), 2}}) {
    CAPTURE(s.batch, s.height, shares);
    const std::vector<float> x = halves(random_tensor(input_size(s), 1, 0.3f)),
                             grad_y = halves(random_tensor(output_size(s), 2, 0.1f));
    const SecondMomentReference reference = second_moment_reference(s, x, grad_y);
    Bf16Array x16(queue, x), grad16(queue, grad_y);
    for (const SecondMoment kind : {SecondMoment::none, SecondMoment::exact}) {
      const bool squares = kind == SecondMoment::exact;
      const std::vector<float> prefill(static_cast<size_t>(s.weights()), 0.5f);
      Floats sum(prefill), moment(prefill);
      cuda::conv_wgmma_bf16(s, kind)->launch(queue, s, kind, shares, x16.stored.on(queue), grad16.stored.on(queue),
                                             {sum.on(queue), squares ? moment.on(queue) : nullptr});
      queue.synchronize();
      CHECK(difference(sum.on_cuda(), plus(0.5f, reference.sum)) == "");
      if (squares) CHECK(difference(moment.on_cuda(), plus(0.5f, reference.exact)) == "");
    }
  }
}

TEST_CASE("asynchronous products take operands in bf16 where the device and the shape have them") {
  Queue queue({Backend::cuda, 0});
  const ConvShape s = square(2, 4, 32, 64), other = square(2, 4, 32, 32);
  const std::vector<float> x = halves(random_tensor(input_size(s), 1)),
                           grad_y = halves(random_tensor(output_size(s), 2));
  Bf16Array x16(queue, x), grad16(queue, grad_y);
  const ConstValues x_values(x16.stored.on(queue), DType::bf16), grad_values(grad16.stored.on(queue), DType::bf16);
  const std::vector<float> prefill(static_cast<size_t>(s.weights()), 0.5f);
  Floats sum(prefill), moment(prefill), alone(prefill);
  const bool taken = conv_sample_sums_bf16(queue, s, x_values, grad_values, moment.on(queue), sum.on(queue));
  CHECK(taken == queue.cuda().has_wgmma());
  CHECK(conv_sample_sums_bf16(queue, s, x_values, grad_values, nullptr, alone.on(queue)) == taken);
  CHECK(!conv_sample_sums_bf16(queue, other, x_values, grad_values, moment.on(queue), sum.on(queue)));
  CHECK_THROWS_WITH(conv_sample_sums_bf16(queue, s, x16.given.on(queue), grad_values, nullptr, alone.on(queue)),
                    Catch::Matchers::Contains("takes arrays of bf16, not of f32 and bf16"));
  queue.synchronize();
  const SecondMomentReference reference = second_moment_reference(s, x, grad_y);
  CHECK(difference(sum.on_cuda(), taken ? plus(0.5f, reference.sum) : prefill) == "");
  CHECK(difference(alone.on_cuda(), taken ? plus(0.5f, reference.sum) : prefill) == "");
  CHECK(difference(moment.on_cuda(), taken ? plus(0.5f, reference.exact) : prefill) == "");
}

TEST_CASE("on 2x2 images pairs of positions give the second moment") {
  Queue queue({Backend::cuda, 0});
  for (const ConvShape& s : {square(1, 2, 32, 64), square(37, 2, 64, 64), square(50, 2, 32, 192)})
    for (const Precision precision : precisions) {
      CAPTURE(precision, s.batch, s.in_channels, s.out_channels);
      queue.set_precision(precision);
      CHECK(route_of(s, SecondMoment::exact, precision) == ConvRoute::pairs);
      check_exact_values(queue, s);
      // Too few terms at the corners for its bound, with one sample or with signs; signs are a pass of their own here.
      if (s.batch > 1) check_rounding(queue, s, promised_error(queue.precision()), {nothing, exact, spatial});
    }
}

TEST_CASE("the pairs kernel handles more items in a row than its ring has stages") {
  Queue queue({Backend::cuda, 0});
  const ConvShape s = square(50, 2, 256, 576);  // so many tiles of weights that one block handles all samples
  for (const Precision precision : {Precision::fp32, Precision::tf32}) {
    CAPTURE(precision);
    queue.set_precision(precision);
    CHECK(cuda::conv_pairs(s, precision)->grid(s).shares == 1);
    check_exact_values(queue, s, {exact});
  }
}

TEST_CASE("a second moment of pairs that cancel is not negative, and NaN stays NaN") {
  Queue queue({Backend::cuda, 0});
  const ConvShape s = square(2, 2, 32, 64);
  std::vector<float> x(static_cast<size_t>(input_size(s)), 1.0f), grad_y = random_tensor(output_size(s), 3);
  // The four positions of a channel sum to about zero, and so does G_n of the centre tap.
  for (size_t n = 0; n < 2; ++n)
    for (size_t k = 0; k < 64; ++k) {
      float* g = grad_y.data() + n * 256 + k;
      g[192] = -(g[0] + g[64] + g[128]);
    }
  for (const Precision precision : {Precision::tf32, Precision::half}) {
    queue.set_precision(precision);
    const Sums result = Layer(s, x, grad_y).run(queue, exact, 0);
    for (const float value : result.beside) REQUIRE(value >= 0);
    std::vector<float> poisoned = grad_y;
    poisoned[256 + 5] = NAN;  // sample 1, position 0, channel 5
    const Sums with_nan = Layer(s, x, poisoned).run(queue, exact, 0);
    for (size_t i = 0; i < with_nan.beside.size(); ++i) {
      const size_t tap = i / 32 % 9;  // position 0 sees the input under the taps of rows and columns 1 and 2
      const bool touched = i / (9 * 32) == 5 && tap / 3 > 0 && tap % 3 > 0;
      REQUIRE(std::isnan(with_nan.beside[i]) == touched);
      REQUIRE(std::isnan(with_nan.gradient[i]) == touched);
    }
  }
}

TEST_CASE("tensor cores compute any other shape too") {
  Queue queue({Backend::cuda, 0});
  for (const ConvShape& s : {
           ConvShape{9, 12, 12, 1, 20, 5, 5, 1, 1, 0, 0},   // LeNet: 25 patch elements, four samples at once
           ConvShape{3, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0},  // LeNet: 500 of them
           ConvShape{5, 8, 8, 3, 16, 3, 3, 1, 1, 1, 1},     // three colours
           ConvShape{5, 7, 9, 5, 24, 3, 3, 1, 1, 1, 1},     // two samples at once, odd widths
           ConvShape{1100, 2, 2, 3, 4, 2, 2, 1, 1, 1, 1},   // more samples than shares
           square(5, 8, 16, 33, 2, 1),                      // projection shortcut
           ConvShape{3, 6, 9, 3, 65, 2, 4, 1, 2, 1, 3},     // nothing square
           ConvShape{4, 7, 7, 7, 9, 1, 1, 1, 1, 0, 0},      // a 1x1 kernel; one position in its last step
           ConvShape{5, 8, 8, 3, 64, 3, 3, 1, 1, 1, 1},     // VGG16: three colours, chunks of grad_y alone
           ConvShape{3, 9, 7, 8, 68, 3, 3, 2, 1, 1, 1},     // chunks of both in every tiling
           ConvShape{2, 9, 9, 4, 36, 5, 5, 1, 1, 2, 2},     // 100 patch elements
           ConvShape{5, 8, 6, 8, 64, 2, 2, 1, 1, 1, 0},     // 32 of them
           ConvShape{3, 8, 8, 12, 24, 3, 3, 1, 1, 1, 1},    // 108
           ConvShape{3, 8, 6, 4, 8, 1, 3, 1, 2, 0, 1},      // 12
           ConvShape{4, 5, 6, 8, 6, 2, 1, 1, 1, 0, 0},      // chunks of x alone
       })
    for (const Precision precision : {Precision::tf32, Precision::half}) {
      CAPTURE(precision, s.batch, s.height, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
      queue.set_precision(precision);
      CHECK(route_of(s, SecondMoment::exact, precision) == ConvRoute::gather);
      CHECK(route_of(s, SecondMoment::exact, Precision::fp32) == ConvRoute::tiles);
      check_exact_values(queue, s);
      if (s.batch < 100) check_rounding(queue, s, promised_error(queue.precision()));
    }
}

TEST_CASE("if G_n is one outer product, matrix products compute all sums") {
  Queue queue({Backend::cuda, 0});
  const ConvShape whole{21, 4, 3, 7, 11, 4, 3, 1, 1, 0, 0}, single = square(6, 5, 7, 9, 1, 1);
  for (const Precision precision : precisions) {
    queue.set_precision(precision);
    CHECK(route_of(whole, SecondMoment::exact, precision) == ConvRoute::matrix_product);
    CHECK(route_of(single, SecondMoment::spatial, precision) == ConvRoute::matrix_product);
    CHECK(route_of(single, SecondMoment::none, precision) == ConvRoute::matrix_product);
    CHECK(route_of(single, SecondMoment::exact, precision) != ConvRoute::matrix_product);
    check_exact_values(queue, whole);
    check_exact_values(queue, single);
  }
}

TEST_CASE("addresses not aligned to 16 bytes are computed with smaller copies") {
  Queue queue({Backend::cuda, 0});
  const auto [x_offset, grad_offset] = GENERATE(table<int64_t, int64_t>({{1, 0}, {0, 2}, {3, 3}}));
  for (const ConvShape& s : {square(2, 4, 32, 64), square(2, 5, 8, 64), square(2, 5, 8, 16), square(2, 5, 16, 64, 2, 1),
                             square(2, 5, 16, 32, 2, 1)}) {
    CAPTURE(s.height, s.in_channels, s.out_channels, x_offset, grad_offset);
    std::vector<float> x = halves(random_tensor(input_size(s) + x_offset, 1)),
                       grad_y = halves(random_tensor(output_size(s) + grad_offset, 2));
    Layer layer(s, x, grad_y);
    x.erase(x.begin(), x.begin() + x_offset);
    grad_y.erase(grad_y.begin(), grad_y.begin() + grad_offset);
    const SecondMomentReference reference = second_moment_reference(s, x, grad_y);
    for (const Precision precision : precisions) {
      CAPTURE(precision);
      queue.set_precision(precision);
      const Sums result = layer.run(queue, exact, 0, x_offset, grad_offset);
      CHECK(difference(result.gradient, plus(0, reference.sum)) == "");
      CHECK(difference(result.beside, plus(0, reference.exact)) == "");
    }
  }
}

TEST_CASE("the convolutions of the paper's networks use these kernels") {
  struct Expected {
    ConvShape shape;
    ConvRoute rounded, fp32;  // with operands rounded to tf32 or bf16, and in single precision
  };
  const int64_t batch = 4096;
  const auto conv = [&](int64_t size, int64_t in, int64_t out, int64_t stride = 1, int64_t kernel = 3) {
    return square(batch, size, in, out, stride, kernel);
  };
  constexpr ConvRoute window = ConvRoute::window, gather = ConvRoute::gather, tiles = ConvRoute::tiles;
  std::vector<Expected> layers = {
      {{batch, 28, 28, 1, 20, 5, 5, 1, 1, 0, 0}, gather, tiles},  // LeNet
      {{batch, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0}, gather, tiles},
      {conv(32, 3, 64, 1, 5), gather, tiles},  // AlexNet
      {conv(16, 64, 64, 1, 5), gather, tiles},
      {conv(32, 3, 64), gather, tiles},  // VGG16
      {conv(32, 64, 64), window, window},
      {conv(16, 64, 128), window, window},
      {conv(16, 128, 128), window, window},
      {conv(8, 128, 256), window, window},
      {conv(8, 256, 256), window, window},
      {conv(4, 256, 512), window, window},
      {conv(4, 512, 512), window, window},
      {conv(2, 512, 512), ConvRoute::pairs, ConvRoute::pairs},
  };
  for (const int64_t width : {1, 2}) {  // ResNet20, ResNet44; ResNet44X2
    const int64_t a = 16 * width, b = 32 * width, c = 64 * width;
    layers.insert(layers.end(), {{conv(32, 3, a), gather, tiles},
                                 {conv(32, a, a), window, window},
                                 {conv(32, a, b, 2), window, window},
                                 {conv(16, b, b), window, window},
                                 {conv(16, b, c, 2), window, window},
                                 {conv(8, c, c), window, window},
                                 {conv(32, a, b, 2, 1), gather, tiles},  // projection shortcuts
                                 {conv(16, b, c, 2, 1), gather, tiles}});
  }
  for (const Expected& layer : layers) {
    const ConvShape& s = layer.shape;
    CAPTURE(s.height, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
    for (const SecondMoment kind : {SecondMoment::none, SecondMoment::exact, SecondMoment::spatial}) {
      CHECK(route_of(s, kind, Precision::tf32) == layer.rounded);
      CHECK(route_of(s, kind, Precision::half) == layer.rounded);
      const bool spatial_window = kind == SecondMoment::spatial && layer.fp32 == window;
      CHECK(route_of(s, kind, Precision::fp32) == (spatial_window ? tiles : layer.fp32));
    }
  }
}
