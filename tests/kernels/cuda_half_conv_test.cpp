// Convolutions of values stored in fp16, with gradients stored in bf16, against the CPU's on the same numbers in fp32.
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/scratch.h>
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/square_conv.h"
#include "tests/kernels/stored_array.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// Every tiling of conv_window_halves, and batches that do not fill the last item.
const ConvShape windows[] = {square(3, 32, 32, 32),       square(2, 32, 16, 16),       square(3, 16, 32, 32),
                             square(3, 8, 64, 64),        square(9, 4, 32, 64),        square(1, 4, 64, 64),
                             square(2, 32, 16, 32, 3, 2), square(4, 16, 32, 64, 3, 2), square(3, 8, 16, 32, 3, 2)};
// Those that other kernels compute.
const ConvShape others[] = {square(2, 8, 3, 16),
                            square(5, 2, 32, 64),
                            square(3, 6, 16, 24, 1, 2),
                            {3, 6, 6, 4, 8, 5, 5, 1, 1, 2, 2},
                            {2, 5, 9, 4, 12, 2, 3, 2, 1, 0, 2},
                            {7, 3, 3, 6, 5, 3, 3, 1, 1, 0, 0},
                            square(2, 5, 8, 8, 1)};

// Every tiling of conv_gather, with the bytes of x and of grad_y that are copied at a time; 0: widened before.
struct Gathered {
  ConvShape shape;
  int x_bytes, grad_bytes;
};
const Gathered gathered[] = {
    {{5, 6, 6, 8, 16, 2, 2, 1, 1, 0, 0}, 16, 16}, {{3, 5, 6, 4, 36, 2, 3, 1, 2, 1, 1}, 8, 8},
    {{3, 6, 6, 6, 10, 3, 3, 1, 1, 1, 1}, 4, 4},   {{2, 7, 7, 16, 72, 3, 3, 2, 2, 1, 1}, 16, 16},
    {{2, 5, 7, 12, 20, 3, 3, 1, 2, 1, 0}, 8, 8},  {{1100, 2, 2, 2, 4, 2, 2, 1, 1, 1, 1}, 4, 8},
    {{5, 8, 8, 3, 16, 3, 3, 1, 1, 1, 1}, 0, 16},  {{3, 8, 7, 1, 50, 5, 5, 1, 1, 2, 2}, 0, 4},
    {{2, 7, 7, 5, 20, 3, 3, 1, 1, 0, 0}, 0, 8},   {{2, 9, 9, 3, 68, 5, 5, 1, 1, 2, 2}, 0, 8},
    {{3, 6, 6, 4, 5, 3, 3, 1, 1, 1, 1}, 8, 0},    {{2, 6, 5, 24, 48, 1, 1, 2, 2, 0, 0}, 16, 16}};

// Largest error of results whose operands are rounded to fp16 or bf16, relative to the whole result.
constexpr double half_error = 0x1p-10, bf16_error = 0x1p-7;

double error_of(const Floats& sums) { return relative_error(sums.on_cuda(), to_double(sums.on_cpu())); }
double error_of(const StoredArray& array) { return relative_error(array.on_cuda(), to_double(array.on_cpu())); }

struct Arrays {
  explicit Arrays(const ConvShape& s)
      : x(DType::f16, random_tensor(input_size(s), 1, 0.3f)),
        grad_y(DType::bf16, random_tensor(output_size(s), 2, 0.1f)),
        y(DType::f16, nan_tensor(output_size(s))),
        grad_x(DType::bf16, nan_tensor(input_size(s))),
        weight(random_tensor(s.weights(), 3)),
        bias(random_tensor(s.out_channels, 4)),
        signs(random_tensor(s.batch * s.out_channels, 5)) {}

  StoredArray x, grad_y, y, grad_x;
  Floats weight, bias, signs;
};

void check_gradients(BothQueues& both, const ConvShape& s) {
  CAPTURE(describe(s));
  Arrays a(s);
  const auto sums = [&] { return Floats(random_tensor(s.weights(), 6)); };
  Floats plain = sums(), exact = sums(), exact_square = sums(), spatial = sums(), spatial_square = sums(),
         with_signs = sums(), signed_sum = sums(), all = sums(), all_square = sums(), all_signed = sums();
  both.run([&](Queue& q) {
    conv_backward_weight(q, s, a.x.on(q), a.grad_y.on(q), plain.on(q));
    conv_second_moment_exact(q, s, a.x.on(q), a.grad_y.on(q), exact.on(q), exact_square.on(q));
    conv_second_moment_spatial(q, s, a.x.on(q), a.grad_y.on(q), spatial.on(q), spatial_square.on(q));
    conv_sample_sums(q, s, a.x.on(q), a.grad_y.on(q),
                     SampleSums{.signed_sum = signed_sum.on(q), .signs = a.signs.on(q)}, with_signs.on(q));
    conv_sample_sums(
        q, s, a.x.on(q), a.grad_y.on(q),
        SampleSums{.second_moment = all_square.on(q), .signed_sum = all_signed.on(q), .signs = a.signs.on(q)},
        all.on(q));
  });
  for (const Floats* gradient : {&plain, &exact, &spatial, &with_signs, &all, &signed_sum, &all_signed})
    CHECK(error_of(*gradient) < bf16_error);
  for (const Floats* square : {&exact_square, &spatial_square, &all_square}) CHECK(error_of(*square) < 2 * bf16_error);
  CHECK(signed_sum.on_cuda() == all_signed.on_cuda());
}

void check_products(BothQueues& both, const ConvShape& s) {
  CAPTURE(describe(s));
  Arrays a(s);
  both.run([&](Queue& q) {
    conv_forward(q, s, a.x.on(q), a.weight.on(q), BiasEpilogue(a.bias.on(q), true), a.y.on(q));
    conv_backward_data(q, s, a.weight.on(q), a.grad_y.on(q), a.grad_x.on(q));
  });
  CHECK(error_of(a.y) < half_error);
  CHECK(error_of(a.grad_x) < bf16_error);
}

}  // namespace

TEST_CASE("weight gradients of values stored in 16 bits agree") {
  BothQueues both;
  for (const Precision precision : {Precision::half, Precision::fp32}) {
    both.cuda.set_precision(precision);
    for (const ConvShape& s : others) check_gradients(both, s);
  }
}

TEST_CASE("gathered sums of values stored in 16 bits agree") {
  BothQueues both;
  both.cuda.set_precision(Precision::half);
  for (const Gathered& layer : gathered) check_gradients(both, layer.shape);
}

namespace {

// The sums of 16-bit arrays and of their widened copies, from the given elements on.
void check_same_bits(Queue& cuda, const ConvShape& s, int64_t x_first = 0, int64_t grad_first = 0) {
  CAPTURE(describe(s), x_first, grad_first);
  StoredArray x(DType::f16, random_tensor(input_size(s) + x_first, 1)),
      grad_y(DType::bf16, random_tensor(output_size(s) + grad_first, 2));
  const auto wide = [](const StoredArray& array, int64_t first) {
    return Floats({array.on_cpu().begin() + first, array.on_cpu().end()});
  };
  Floats x32 = wide(x, x_first), grad32 = wide(grad_y, grad_first);
  const auto sums = [&](SecondMoment kind, ConstValues from_x, ConstValues from_grad) {
    Floats sum(random_tensor(s.weights(), 3)), square(random_tensor(s.weights(), 4));
    if (kind == SecondMoment::none)
      conv_sample_sums(cuda, s, from_x, from_grad, {}, sum.on(cuda));
    else if (kind == SecondMoment::exact)
      conv_second_moment_exact(cuda, s, from_x, from_grad, sum.on(cuda), square.on(cuda));
    else
      conv_second_moment_spatial(cuda, s, from_x, from_grad, sum.on(cuda), square.on(cuda));
    cuda.synchronize();
    return std::pair(sum.on_cuda(), square.on_cuda());
  };
  for (const SecondMoment kind : {SecondMoment::none, SecondMoment::exact, SecondMoment::spatial}) {
    CAPTURE(name_of(kind));
    CHECK(sums(kind, x.on(cuda, x_first), grad_y.on(cuda, grad_first)) == sums(kind, x32.on(cuda), grad32.on(cuda)));
  }
}

}  // namespace

TEST_CASE("gathered sums of values stored in 16 bits are those of widened copies") {
  Queue cuda({Backend::cuda, 0});
  cuda.set_precision(Precision::half);
  for (const auto& [s, x_bytes, grad_bytes] : gathered) {
    CAPTURE(describe(s));
    StoredArray x(DType::f16, random_tensor(input_size(s), 1)), grad_y(DType::bf16, random_tensor(output_size(s), 2));
    const ConstValues of_x = x.on(cuda), of_grad = grad_y.on(cuda);
    CHECK(cuda::conv_gather_bytes(s.in_channels, of_x) == x_bytes);
    CHECK(cuda::conv_gather_bytes(s.out_channels, of_grad) == grad_bytes);
    Scratch scratch(cuda);
    const cuda::WeightOperands read = cuda::weight_operands(cuda, scratch, s, of_x, of_grad);
    CHECK((read.grad_y.address == of_grad.address) == (grad_bytes > 0));
    CHECK((read.x.x.address == of_x.address) == (x_bytes > 0 && grad_bytes > 0));
  }
  for (const Gathered& layer : gathered) check_same_bits(cuda, layer.shape);
  for (const ConvShape& s : {square(3, 6, 16, 24, 1, 2), square(2, 5, 8, 40)})
    for (const auto& [x_first, grad_first] : {std::pair{1, 0}, {2, 0}, {4, 0}, {0, 1}, {0, 2}, {0, 4}, {2, 4}})
      check_same_bits(cuda, s, x_first, grad_first);
}

TEST_CASE("pairs of positions of values stored in 16 bits have the sums of widened copies") {
  Queue cuda({Backend::cuda, 0});
  cuda.set_precision(Precision::half);
  // One sample, incomplete items, and more items of a block than the ring has stages.
  for (const ConvShape& s : {square(1, 2, 32, 64), square(37, 2, 64, 64), square(100, 2, 64, 1088)}) {
    StoredArray x(DType::f16, random_tensor(input_size(s), 1)), grad_y(DType::bf16, random_tensor(output_size(s), 2));
    const ConstValues of_x = x.on(cuda), of_grad = grad_y.on(cuda);
    Scratch scratch(cuda);
    const cuda::WeightOperands read = cuda::weight_operands(cuda, scratch, s, of_x, of_grad);
    CHECK(read.x.x.address == of_x.address);
    CHECK(read.grad_y.address == of_grad.address);
    CHECK(cuda::conv_pairs(s, Precision::half) != nullptr);
  }
  for (const ConvShape& s : {square(1, 2, 32, 64), square(37, 2, 64, 64), square(100, 2, 64, 1088)})
    check_same_bits(cuda, s);
}

TEST_CASE("sums of misaligned 16-bit values on 2x2 images agree") {  // by conv_gather
  BothQueues both;
  both.cuda.set_precision(Precision::half);
  const ConvShape s = square(5, 2, 32, 64);
  for (const auto& [x_first, grad_first] : {std::pair{1, 0}, {4, 0}, {0, 1}, {0, 4}, {1, 2}}) {
    CAPTURE(x_first, grad_first);
    StoredArray x(DType::f16, random_tensor(input_size(s) + x_first, 1)),
        grad_y(DType::bf16, random_tensor(output_size(s) + grad_first, 2));
    Floats sum(random_tensor(s.weights(), 3)), square(random_tensor(s.weights(), 4));
    both.run([&](Queue& q) {
      conv_second_moment_exact(q, s, x.on(q, x_first), grad_y.on(q, grad_first), sum.on(q), square.on(q));
    });
    CHECK(error_of(sum) < bf16_error);
    CHECK(error_of(square) < 2 * bf16_error);
  }
}

TEST_CASE("the window kernel reads values stored in 16 bits") {
  BothQueues both;
  both.cuda.set_precision(Precision::half);
  for (const ConvShape& s : windows) {
    REQUIRE(cuda::conv_window_halves(s, both.cuda.cuda().shared_memory()) != nullptr);
    check_gradients(both, s);
  }
}

TEST_CASE("asynchronous products read values stored in 16 bits") {
  const test::Variable chosen("NSGD_WGMMA", "1");
  BothQueues both;
  if (!both.cuda.cuda().wgmma()) return;  // not of compute capability 9.0
  both.cuda.set_precision(Precision::half);
  for (const ConvShape& s : {square(5, 8, 32, 64), square(9, 4, 32, 64)}) check_gradients(both, s);
}

TEST_CASE("the window kernel's sums of 16-bit values that need no rounding are exact") {
  BothQueues both;
  for (const ConvShape& s : windows) {
    CAPTURE(describe(s));
    StoredArray x(DType::f16, halves(random_tensor(input_size(s), 1, 0.3f))),
        grad_y(DType::bf16, halves(random_tensor(output_size(s), 2, 0.1f)));
    const std::vector<float> zeros(static_cast<size_t>(s.weights()));
    Floats sum(zeros), square(zeros);
    both.run([&](Queue& q) { conv_second_moment_exact(q, s, x.on(q), grad_y.on(q), sum.on(q), square.on(q)); });
    CHECK(sum.same_bits());
    CHECK(square.same_bits());
  }
}

TEST_CASE("weight gradients of misaligned 16-bit values agree") {
  BothQueues both;
  both.cuda.set_precision(Precision::half);
  const ConvShape s = square(3, 8, 16, 16);
  const int64_t in = input_size(s), out = output_size(s);
  StoredArray x(DType::f16, random_tensor(in + 1, 1)), grad_y(DType::bf16, random_tensor(out + 4, 2));
  for (const auto& [x_first, grad_first] : {std::pair{1, 0}, {0, 4}}) {
    Floats sum(random_tensor(s.weights(), 3));
    both.run([&](Queue& q) { conv_backward_weight(q, s, x.on(q, x_first), grad_y.on(q, grad_first), sum.on(q)); });
    CHECK(error_of(sum) < bf16_error);
  }
}

TEST_CASE("convolutions of values stored in 16 bits agree, with and without cuDNN") {
  const TemporaryFolder cache;
  const test::Variable folder("NSGD_CACHE", cache.path().string());
  for (const char* library : {"off", "on"}) {
    const test::Variable use("NSGD_CUDNN", library);
    BothQueues both;
    CAPTURE(library);
    both.cuda.set_precision(Precision::half);
    for (const ConvShape& s : others) check_products(both, s);
    for (const ConvShape& s : {square(1, 32, 16, 16), square(2, 16, 32, 32), square(2, 4, 16, 32, 3, 2)})
      check_products(both, s);
  }
}
