#include "tests/emulator/primitives.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/cuda/state.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Nearest number with `bits` bits of mantissa, ties to even, for normal numbers.
double rounded(double x, int bits) {
  int exponent;
  const double mantissa = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
}
double tf32(float x) { return rounded(x, 11); }
double bf16(float x) { return rounded(x, 8); }
// Below 2^-14 multiples of 2^-24, from 65520 on infinity.
double fp16(float x) {
  const double value =
      std::fabs(x) < 0x1p-14 ? std::ldexp(std::nearbyint(std::ldexp(double{x}, 24)), -24) : rounded(x, 11);
  return std::fabs(value) > 65504 ? std::copysign(INFINITY, value) : value;
}

}  // namespace

TEST_CASE("shuffles move lanes as CUDA specifies") {
  Context context(test_device);
  const std::vector<int32_t> in = random_integers(32, 1, 1000);
  const Tensor out = from_host(context, {6 * 32}, std::vector<int32_t>(6 * 32, -1));
  shuffles(context.queue, from_host(context, {32}, in).data<int32_t>(), out.data<int32_t>());
  int32_t even = 0;
  for (size_t i = 0; i < 32; i += 2) even += in[i];
  std::vector<int32_t> expected;
  for (size_t i = 0; i < 32; ++i) expected.push_back(in[5]);
  for (size_t i = 0; i < 32; ++i) expected.push_back(in[i / 8 * 8 + i % 8 / 2]);
  for (size_t i = 0; i < 32; ++i) expected.push_back(in[i ^ 3]);
  for (size_t i = 0; i < 32; ++i) expected.push_back(in[i < 28 ? i + 4 : i]);
  for (size_t i = 0; i < 32; ++i) expected.push_back(in[i >= 4 ? i - 4 : i]);
  for (size_t i = 0; i < 32; ++i) expected.push_back(i % 2 == 0 ? even : in[i]);
  CHECK(to_host<int32_t>(context, out) == expected);
}

TEST_CASE("votes combine the lanes' predicates") {
  Context context(test_device);
  for (const int32_t shift : {-1000, -500, 1}) {  // none, some, all positive
    std::vector<int32_t> in = random_integers(64, 2, 1000);
    for (int32_t& value : in) value += shift;
    const Tensor out = from_host(context, {7}, std::vector<int32_t>(7, -1));
    votes(context.queue, from_host(context, {64}, in).data<int32_t>(), out.data<int32_t>());
    uint32_t ballot = 0;
    for (size_t i = 0; i < 32; ++i) ballot |= static_cast<uint32_t>(in[i] > 0) << i;
    const auto positive = static_cast<int32_t>(std::count_if(in.begin(), in.end(), [](int32_t v) { return v > 0; }));
    CHECK(to_host<int32_t>(context, out) == std::vector<int32_t>{static_cast<int32_t>(ballot), ballot != 0,
                                                                 ballot == ~0u, positive, positive == 64, positive > 0,
                                                                 *std::min_element(in.begin(), in.begin() + 32)});
  }
}

TEST_CASE("a barrier makes shared memory visible to the block") {
  Context context(test_device);
  const std::vector<float> in = random_tensor(3 * 256, 3);
  const Tensor out = from_host(context, {3 * 256}, nan_tensor(3 * 256));
  reverse_blocks(context.queue, 3, from_host(context, {3 * 256}, in).f32(), out.f32());
  std::vector<float> expected = in;
  for (auto block = expected.begin(); block != expected.end(); block += 256) std::reverse(block, block + 256);
  CHECK(to_host<float>(context, out) == expected);
}

TEST_CASE("asynchronous copies are complete after the wait") {
  Context context(test_device);
  for (const int rows : {1, 2, 7}) {
    const std::vector<float> in = random_tensor(rows * 64, 4);
    const Tensor out = from_host(context, {64}, nan_tensor(64));
    staged_row_sums(context.queue, rows, from_host(context, {rows * 64}, in).f32(), out.f32());
    std::vector<double> expected(64);
    for (size_t i = 0; i < in.size(); ++i) expected[i % 64] += in[i];
    CHECK(compare(to_host<float>(context, out), expected, {.terms = 7}) == "");
  }
}

TEST_CASE("the tensor-core product is that of operands rounded to tf32") {
  Context context(test_device);
  const std::vector<float> a = random_tensor(128, 5), b = random_tensor(64, 6);
  const Tensor d = from_host(context, {128}, nan_tensor(128));
  tf32_product(context.queue, from_host(context, {128}, a).f32(), from_host(context, {64}, b).f32(), d.f32());
  std::vector<double> expected(128);
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j)
      for (size_t k = 0; k < 8; ++k) expected[i * 8 + j] += tf32(a[i * 8 + k]) * tf32(b[k * 8 + j]);
  CHECK(compare(to_host<float>(context, d), expected, {.terms = 8, .condition = 4}) ==
        "");  // sums are cut, not rounded
}

TEST_CASE("tensor cores truncate sums towards zero where rounding would go up") {
  Context context(test_device);
  std::vector<float> a(128), b(64);
  for (size_t k = 0; k < 8; ++k) {  // 1 + 7 * 3 * 2^-26 = 1 + 2.6 * 2^-23, and its negative
    a[k] = k == 0 ? 1 : 3 * 0x1p-13f;
    a[8 + k] = -a[k];
    b[k * 8] = k == 0 ? 1 : 0x1p-13f;
  }
  const Tensor d = from_host(context, {128}, nan_tensor(128));
  tf32_product(context.queue, from_host(context, {128}, a).f32(), from_host(context, {64}, b).f32(), d.f32());
  const std::vector<float> sums = to_host<float>(context, d);
  CHECK(sums[0] >= 1);
  CHECK(sums[0] <= 1 + 2 * 0x1p-23f);  // how much is lost before the sum is cut depends on the device
  CHECK(sums[8] == -sums[0]);
}

TEST_CASE("tensor-core products are those of operands rounded to bf16 and to fp16") {
  Context context(test_device);
  const std::vector<float> a = random_tensor(256, 5), b = random_tensor(128, 6, 0, 0x1p-12f);  // some subnormal in fp16
  const auto check = [&](const auto& product, double (*round)(float)) {
    const Tensor d = from_host(context, {128}, nan_tensor(128));
    product(context.queue, from_host(context, {256}, a).f32(), from_host(context, {128}, b).f32(), d.f32());
    std::vector<double> expected(128);
    for (size_t i = 0; i < 16; ++i)
      for (size_t j = 0; j < 8; ++j)
        for (size_t k = 0; k < 16; ++k) expected[i * 8 + j] += round(a[i * 16 + k]) * round(b[k * 8 + j]);
    CHECK(compare(to_host<float>(context, d), expected, {.terms = 16, .condition = 4}) == "");
  };
  check(bf16_product, bf16);
  check(f16_product, fp16);
}

TEST_CASE("matrices are loaded as they are") {
  Context context(test_device);
  std::vector<int32_t> in(4 * 32);  // two 16-bit elements each
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int32_t>((2 * i + 2) << 16 | (2 * i + 1));
  const Tensor out = from_host(context, {4 * 32}, std::vector<int32_t>(4 * 32, -1));
  matrices(context.queue, reinterpret_cast<const uint16_t*>(from_host(context, {4 * 32}, in).data<int32_t>()),
           reinterpret_cast<uint16_t*>(out.data<int32_t>()));
  CHECK(to_host<int32_t>(context, out) == in);
}

TEST_CASE("a warpgroup's product is that of operands rounded to bf16, from overlapping columns") {
  Context context(test_device);
  if (!context.queue.cuda().has_wgmma()) return;
  const std::vector<float> a = random_tensor(128 * 16, 5), x = random_tensor(64 * 8, 6);
  for (const auto& [depth_step, column_step] : {std::pair(8, 16), {10, 1}, {8, 20}}) {
    CAPTURE(depth_step, column_step);
    const Tensor d = from_host(context, {2 * 128 * 24}, nan_tensor(2 * 128 * 24));
    warpgroup_product(context.queue, depth_step, column_step, from_host(context, {128 * 16}, a).f32(),
                      from_host(context, {64 * 8}, x).f32(), d.f32());
    std::vector<double> expected(2 * 128 * 24);
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t second = i / (128 * 24), row = i / 24 % 128, n = i % 24;
      expected[i] = second == 0;
      for (size_t k = 0; k < 16; ++k) {
        const size_t position =
            k / 8 * static_cast<size_t>(depth_step) + k % 8 + n / 8 * static_cast<size_t>(column_step);
        expected[i] += bf16(a[row * 16 + k]) * bf16(x[position * 8 + n % 8]);
        if (second) expected[i] += bf16(a[row * 16 + k]) * bf16(x[(position + 3) * 8 + n % 8]);
      }
    }
    CHECK(compare(to_host<float>(context, d), expected, {.terms = 32, .condition = 4}) == "");
  }
}

TEST_CASE("matrices are loaded transposed") {
  Context context(test_device);
  std::vector<int32_t> in(6 * 32), expected(6 * 32);  // two 16-bit elements each
  auto* rows = reinterpret_cast<uint16_t*>(in.data());
  auto* columns = reinterpret_cast<uint16_t*>(expected.data());
  for (size_t i = 0; i < 6; ++i)
    for (size_t r = 0; r < 8; ++r)
      for (size_t c = 0; c < 8; ++c)
        rows[i * 64 + r * 8 + c] = columns[i * 64 + c * 8 + r] = static_cast<uint16_t>(i * 64 + r * 8 + c + 1);
  const Tensor out = from_host(context, {6 * 32}, std::vector<int32_t>(6 * 32, -1));
  transposed_matrices(context.queue,
                      reinterpret_cast<const uint16_t*>(from_host(context, {6 * 32}, in).data<int32_t>()),
                      reinterpret_cast<uint16_t*>(out.data<int32_t>()));
  CHECK(to_host<int32_t>(context, out) == expected);
}

TEST_CASE("scalar instructions have their values") {
  Context context(test_device);
  const int n = 1000;
  std::vector<float> x = random_tensor(n, 7, 0, 20);
  x[0] = 1 + 0x1p-11f, x[1] = 1 + 0x1p-8f, x[2] = -1 - 3 * 0x1p-8f;  // ties
  const Tensor out = from_host(context, {5 * n}, nan_tensor(5 * n));
  scalar_functions(context.queue, n, from_host(context, {n}, x).f32(), out.f32());
  const std::vector<float> values = to_host<float>(context, out);
  std::vector<double> expected;
  for (const float v : x) expected.push_back(tf32(v));
  for (const float v : x) expected.push_back(bf16(v));
  for (const float v : x) expected.push_back(rounded(bf16(v) * bf16(v), 8));
  for (const float v : x) expected.push_back(rounded(v, 11));  // fp16
  for (const float v : x) expected.push_back(std::sqrt(std::fabs(static_cast<double>(v))));
  for (size_t i = 0; i < values.size(); ++i)
    CHECK(std::fabs(values[i] - expected[i]) <=
          (i < 4 * n ? 0 : 2e-7) * std::fabs(expected[i]));  // roundings are exact
}

TEST_CASE("fp16 has subnormal numbers, infinity and NaN, with and without the maximum with zero") {
  Context context(test_device);
  const int n = 1000;
  std::vector<float> x = random_tensor(n, 7, 0, 20);
  const std::vector<float> edges{
      1 + 0x1p-11f, 1 + 3 * 0x1p-11f, -1 - 0x1p-11f, 65504,        65519.99f, 65520, -65520,   1e6f,      0x1p-14f,
      0x1p-24f,     -0x1p-24f,        0x1p-25f,      3 * 0x1p-25f, 0x1p-26f,  -0.0f, INFINITY, -INFINITY, NAN};
  std::copy(edges.begin(), edges.end(), x.begin());
  for (size_t i = edges.size(); i < 500; ++i) x[i] *= 0x1p-20f;
  const Tensor out = from_host(context, {2 * n}, nan_tensor(2 * n));
  fp16_functions(context.queue, n, from_host(context, {n}, x).f32(), out.f32());
  const std::vector<float> values = to_host<float>(context, out);
  for (size_t i = 0; i < x.size(); ++i) {
    CAPTURE(x[i]);
    REQUIRE(std::isnan(values[i]) == std::isnan(x[i]));
    REQUIRE(std::isnan(values[n + i]) == std::isnan(x[i]));
    if (std::isnan(x[i])) continue;
    REQUIRE(values[i] == fp16(x[i]));
    REQUIRE(values[n + i] == std::fmax(0, fp16(x[i])));
  }
}

TEST_CASE("atomics add once per thread, and the last block sees all of it") {
  Context context(test_device);
  const std::vector<int32_t> values = random_integers(333, 8, 8);
  const Tensor counts = from_host(context, {8}, std::vector<int32_t>(8)),
               finished = from_host(context, {1}, std::vector<int32_t>{0}),
               total = from_host(context, {1}, std::vector<int32_t>{-1});
  for (int run = 1; run <= 2; ++run) {
    histogram(context.queue, 333, from_host(context, {333}, values).data<int32_t>(), counts.data<int32_t>(),
              reinterpret_cast<unsigned*>(finished.data<int32_t>()), total.data<int32_t>());
    std::vector<int32_t> expected(8);
    for (const int32_t v : values) expected[static_cast<size_t>(v)] += run;
    CHECK(to_host<int32_t>(context, counts) == expected);
    CHECK(to_host<int32_t>(context, total) == std::vector<int32_t>{333 * run});
  }
}
