// Conversion to and from fp16 and bf16 on the device, with the bits of the CPU's.
#include <noisysgd/kernels/convert.h>

#include <bit>

#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

constexpr DType half_types[] = {DType::f16, DType::bf16};

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::isnan(value) ? 0x7fffffffu : std::bit_cast<uint32_t>(value));
  return bits;
}

}  // namespace

TEST_CASE("conversion of random fp32 agrees with the CPU's in every size and alignment") {
  BothQueues both;
  for (const DType type : half_types)
    for (const int64_t n : {0, 1, 3, 7, 8, 9, 15, 16, 17, 255, 2048, 2049, 4103})
      for (const int offset : {0, 1, 4, 8}) {
        CAPTURE(name_of(type), n, offset);
        Mirrored<float> x(random_tensor(n + offset, 1, 0, 3));
        for (const int half_offset : {0, 1, offset}) {
          Mirrored<uint16_t> y(std::vector<uint16_t>(static_cast<size_t>(n + offset + 8), 0xabcd));
          Mirrored<float> back(nan_tensor(n + offset));
          both.run([&](Queue& q) {
            convert(q, n, x.on(q) + offset, {y.on(q) + half_offset, type});
            convert(q, n, {y.on(q) + half_offset, type}, back.on(q) + offset);
          });
          CHECK(y.same_bits());
          CHECK(bits_of(back.on_cuda()) == bits_of(back.on_cpu()));
        }
      }
}

TEST_CASE("conversion of any bits agrees with the CPU's") {
  BothQueues both;
  std::vector<float> numbers = random_tensor(65536, 2);
  for (float& value : numbers) value = std::bit_cast<float>(static_cast<uint32_t>((value + 1) * 0x7fffff80));
  for (const float value : {65504.0f, 65520.0f, 1e-7f, 0x1p-25f, std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::quiet_NaN()})
    numbers.push_back(value);
  std::vector<uint16_t> patterns(65536);
  for (size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<uint16_t>(i);
  for (const DType type : half_types) {
    CAPTURE(name_of(type));
    const auto n = static_cast<int64_t>(numbers.size());
    Mirrored<float> x(numbers), wide(nan_tensor(65536));
    Mirrored<uint16_t> y(std::vector<uint16_t>(numbers.size())), all(patterns);
    both.run([&](Queue& q) {
      convert(q, n, x.on(q), {y.on(q), type});
      convert(q, 65536, {all.on(q), type}, wide.on(q));
    });
    CHECK(y.same_bits());
    CHECK(bits_of(wide.on_cuda()) == bits_of(wide.on_cpu()));
  }
  Mirrored<uint16_t> x(patterns), y(std::vector<uint16_t>(patterns.size()));
  both.run([&](Queue& q) { convert(q, 65536, {x.on(q), DType::f16}, {y.on(q), DType::bf16}); });
  CHECK(y.same_bits());
}

TEST_CASE("conversion of more elements than one grid has threads") {
  BothQueues both;
  const int64_t n = 2048 * 256 + 300;  // one by one, because the addresses are not aligned
  Mirrored<float> x(random_tensor(n + 1, 3));
  Mirrored<uint16_t> y(std::vector<uint16_t>(static_cast<size_t>(n)));
  both.run([&](Queue& q) { convert(q, n, x.on(q) + 1, {y.on(q), DType::f16}); });
  CHECK(y.same_bits());
}
