// Conversion to and from fp16 and bf16 against their definition.
#include <noisysgd/kernels/convert.h>

#include <bit>
#include <vector>

#include "tests/catch.h"
#include "tests/kernels/half_reference.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

// Numbers of the type, their neighbours in fp32, the borders at which rounding turns, and any bits at all.
template <class T>
std::vector<float> difficult_floats() {
  std::vector<float> floats = {0.0f,
                               -0.0f,
                               65504.0f,
                               65519.996f,
                               65520.0f,
                               -65520.0f,
                               65536.0f,
                               3.4e38f,
                               3.3961776e38f,
                               1e-45f,
                               -1e-40f,
                               0x1p-24f,
                               0x1p-25f,
                               0x1.000002p-25f,
                               0x1.8p-24f,
                               0x1.ffcp-15f,
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN(),
                               -std::numeric_limits<float>::quiet_NaN(),
                               std::bit_cast<float>(0x7f800001u)};
  for (uint32_t bits = 0; bits < 0x7fff; bits += 13) {
    const double middle = (number_of<T>(bits, true) + number_of<T>(bits + 1, true)) / 2;
    const auto border = static_cast<float>(middle);
    for (const float value : {border, std::nextafter(border, 0.0f), std::nextafter(border, 1e38f), -border})
      floats.push_back(value);
  }
  for (const float uniform : random_tensor(20000, 7))
    floats.push_back(std::bit_cast<float>(static_cast<uint32_t>((uniform + 1) * 0x7fffff80)));
  return floats;
}

template <class T>
void check_rounding(DType type) {
  Queue queue({}, 1);
  const std::vector<float> x = difficult_floats<T>();
  std::vector<T> y(x.size(), T{0xabcd});
  convert(queue, static_cast<int64_t>(x.size()), x.data(), {y.data(), type});
  for (size_t i = 0; i < x.size(); ++i) {
    CAPTURE(x[i], std::bit_cast<uint32_t>(x[i]), y[i].bits);
    REQUIRE(y[i].bits == nearest_pattern<T>(x[i]));
    REQUIRE(rounded<T>(x[i]) == y[i]);
  }
}

template <class T>
void check_widening(DType type) {
  Queue queue({}, 2);
  std::vector<T> x(65536);
  for (uint32_t bits = 0; bits < x.size(); ++bits) x[bits] = {static_cast<uint16_t>(bits)};
  std::vector<float> y = nan_tensor(65536);
  convert(queue, 65536, {x.data(), type}, y.data());
  for (uint32_t bits = 0; bits < x.size(); ++bits) {
    CAPTURE(bits, y[bits]);
    const double expected = number_of<T>(bits);
    if (std::isnan(expected)) {
      REQUIRE(std::isnan(y[bits]));
    } else {
      REQUIRE(y[bits] == expected);
      REQUIRE(std::signbit(y[bits]) == (bits >= 0x8000));
      REQUIRE(rounded<T>(y[bits]).bits == bits);
    }
  }
}

}  // namespace

TEST_CASE("conversion of fp32 to fp16 and bf16 gives the nearest number") {
  check_rounding<Half>(DType::f16);
  check_rounding<BFloat16>(DType::bf16);
}

TEST_CASE("conversion of every fp16 and bf16 to fp32 is exact") {
  check_widening<Half>(DType::f16);
  check_widening<BFloat16>(DType::bf16);
}

TEST_CASE("conversion of every fp16 to bf16 gives the nearest number") {
  Queue queue({}, 1);
  std::vector<Half> x(65536);
  for (uint32_t bits = 0; bits < x.size(); ++bits) x[bits] = {static_cast<uint16_t>(bits)};
  std::vector<BFloat16> y(65536);
  convert(queue, 65536, {x.data(), DType::f16}, {y.data(), DType::bf16});
  for (uint32_t bits = 0; bits < x.size(); ++bits) {
    CAPTURE(bits);
    REQUIRE(y[bits].bits == nearest_pattern<BFloat16>(static_cast<float>(number_of<Half>(bits))));
  }
}

TEST_CASE("conversion needs one array of fp32 and one of 16 bits") {
  Queue queue;
  std::vector<float> x(2, 3.0f);
  std::vector<uint16_t> y(2, 7);
  CHECK_THROWS_WITH(convert(queue, 2, x.data(), Values(x.data())), "convert: no conversion from f32 to f32");
  CHECK_THROWS_WITH(convert(queue, 2, {y.data(), DType::bf16}, {y.data(), DType::f16}),
                    "convert: no conversion from bf16 to f16");
  CHECK_THROWS_WITH(convert(queue, 2, x.data(), {y.data(), DType::i32}), "convert: no conversion from f32 to i32");
  CHECK(y == std::vector<uint16_t>{7, 7});
}
