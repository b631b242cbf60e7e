// Arrays of elements that may be stored in more than one way, on their way into an op.
#include <noisysgd/kernels/elementwise.h>

#include <vector>

#include "tests/catch.h"

namespace noisysgd::kernels {

// An op that dispatches by the type; it returns its arguments.
NSGD_OP(test_types, void(Queue& queue, ConstValues x, Values y, std::vector<Values>& seen));
namespace {
void see(ConstValues x, Values y, std::vector<Values>& seen) {
  seen = {Values(const_cast<void*>(x.address), x.type), y};
}
}  // namespace
void cpu::test_types(Queue&, ConstValues x, Values y, std::vector<Values>& seen) { see(x, y, seen); }
void cuda::test_types(Queue&, ConstValues x, Values y, std::vector<Values>& seen) { see(x, y, seen); }

namespace {

TEST_CASE("an op for fp32 accepts fp32 values") {
  Queue queue;
  std::vector<float> x = {-1, 2}, y = {7, 7};
  const Values in(x.data()), out(y.data());
  relu_forward(queue, 2, in, out);
  CHECK(y == std::vector<float>{0, 2});
  relu_forward(queue, 2, ConstValues(x.data()), Values(x.data()));
  CHECK(x == std::vector<float>{0, 2});
}

TEST_CASE("an op for fp32 refuses values of another type by its name and changes nothing") {
  Queue queue;
  std::vector<float> x = {-1, 2}, y = {7, 7};
  const Values bytes(y.data(), DType::u8);
  CHECK_THROWS_WITH(relu_forward(queue, 2, Values(x.data()), bytes), "relu_forward takes arrays of f32, not of u8");
  CHECK_THROWS_WITH(relu_backward(queue, 2, ConstValues(bytes), x.data(), y.data()),
                    "relu_backward takes arrays of f32, not of u8");
  CHECK(y == std::vector<float>{7, 7});
}

TEST_CASE("an op gets the addresses and types of its values") {
  Queue queue;
  std::vector<float> x(1);
  std::vector<Values> seen;
  test_types(queue, Values(x.data()), Values(&x, DType::i32), seen);
  CHECK(seen[0].address == x.data());
  CHECK(seen[0].type == DType::f32);
  CHECK(seen[1].address == &x);
  CHECK(seen[1].type == DType::i32);
  test_types(queue, x.data(), nullptr, seen);
  CHECK(seen[0].address == x.data());
  CHECK(!seen[1]);
}

}  // namespace
}  // namespace noisysgd::kernels
