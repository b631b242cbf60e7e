// Cases of a benchmark: which are refused, what the op gets, and its error against the reference.
#include <noisysgd/bench/case.h>

#include <cmath>
#include <limits>

#include <noisysgd/kernels/elementwise.h>
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::bench;
using namespace noisysgd::test;

namespace {

using Arrays = std::span<std::vector<double>>;
constexpr double infinity = std::numeric_limits<double>::infinity(),
                 not_a_number = std::numeric_limits<double>::quiet_NaN();

// y += x^2 and z = 2 x
Case squares() {
  Case squares{.name = "squares", .arrays = {{{3, 50}}, {{150}, Use::update}, {{150}, Use::write}}};
  squares.op = [](Context& context, std::span<const Tensor> a) {
    kernels::add_square(context.queue, 150, a[0].f32(), a[1].f32());
    kernels::scale(context.queue, 150, 2.0f, a[0].f32(), a[2].f32());
  };
  squares.reference = [](Arrays a) {
    for (size_t i = 0; i < 150; ++i) {
      a[1][i] += a[0][i] * a[0][i];
      a[2][i] = 2 * a[0][i];
    }
  };
  return squares;
}

}  // namespace

TEST_CASE("a case that cannot be measured is refused with its name") {
  Cases cases;
  cases.add(squares());
  const auto refused = [&](const auto& change) {
    Case changed = squares();
    changed.name = "other";
    change(changed);
    return error_of([&] { cases.add(changed); });
  };
  CHECK(refused([](Case& c) { c.name = "squares"; }) == "case \"squares\" of the benchmark is added twice");
  CHECK(refused([](Case& c) { c.name = ""; }) == "case 1 of the benchmark has no name");
  CHECK(refused([](Case& c) { c.op = {}; }) == "case \"other\" of the benchmark lacks its op");
  CHECK(refused([](Case& c) { c.reference = {}; }) == "case \"other\" of the benchmark lacks its reference");
  CHECK(refused([](Case& c) { c.arrays[1].shape = {0}; }) == "case \"other\" of the benchmark: array 1 is empty");
  CHECK(refused([](Case& c) { c.arrays.resize(1); }) == "case \"other\" of the benchmark writes no array");
  REQUIRE(cases.all().size() == 1);
  refused([](Case&) {});
  CHECK(cases.all()[1].name == "other");
}

TEST_CASE("a case moves each array once for every direction of its use, unless it says how much") {
  Case one = squares();
  CHECK(one.bytes_moved() == (1 + 2 + 1) * 150 * 4);
  one.bytes = 7;
  CHECK(one.bytes_moved() == 7);
}

TEST_CASE("arrays hold draws that differ between them, and NaN where the op writes") {
  Context context({}, 1);
  Case one = squares();
  one.arrays[0].from_normal = [](float z) { return std::abs(z) + 1; };
  const std::vector<Tensor> arrays = make_arrays(context, one);
  REQUIRE(arrays.size() == 3);
  CHECK(arrays[0].shape() == Shape{3, 50});
  const auto x = arrays[0].span<float>(), y = arrays[1].span<float>(), z = arrays[2].span<float>();
  double mean = 0, square = 0;
  for (size_t i = 0; i < 150; ++i) {
    CHECK(x[i] >= 1);
    CHECK(x[i] != std::abs(y[i]) + 1);
    CHECK(std::isnan(z[i]));
    mean += y[i] / 150;
    square += y[i] * y[i] / 150;
  }
  CHECK(mean == Approx(0).margin(5 / std::sqrt(150.0)));
  CHECK(square == Approx(1).margin(5 * std::sqrt(2 / 150.0)));
}

TEST_CASE("the error is the largest deviation, relative to the element or the root mean square") {
  const std::vector<double> expected{3, -4, 0, 0};  // root mean square 2.5
  const auto error = [&](std::vector<float> actual) { return error_between(actual, expected, "x"); };
  CHECK(error({3, -4, 0, 0}) == 0);
  CHECK(error({3, -5, 0, 0}) == 0.25);
  CHECK(error({3, -4, 0, 1}) == 0.4);
  CHECK(error({3.75f, -4, 0, -1}) == 0.4);
  CHECK(error({3, -4, 0, static_cast<float>(not_a_number)}) == infinity);
  CHECK(error({3, -4, static_cast<float>(-infinity), 0}) == infinity);
}

TEST_CASE("a comparison that proves nothing is an error") {
  const std::vector<float> actual{0, 0};
  const auto refused = [&](std::vector<double> expected) {
    return error_of([&] { error_between(actual, expected, "swish, array 2"); });
  };
  CHECK(refused({0}) == "swish, array 2: the reference has 1 elements, the op 2");
  CHECK(refused({0, 0}) == "swish, array 2: the reference is zero everywhere, which proves nothing");
  CHECK(refused({0, not_a_number}) == "swish, array 2: a value of the reference is not finite");
  CHECK(refused({infinity, 1}) == "swish, array 2: a value of the reference is not finite");
}

TEST_CASE("the error of a case is that of the worst array, and a wrong reference is seen") {
  Context context({}, 1);
  Case one = squares();
  CHECK(error_of(context, one) < 1e-6);
  const auto with = [&](const std::function<void(Arrays)>& change) {
    Case changed = squares();
    changed.reference = [&](Arrays a) {
      squares().reference(a);
      change(a);
    };
    return error_of(context, changed);
  };
  CHECK(with([](Arrays a) { a[1][149] *= 2; }) > 0.1);
  CHECK(with([](Arrays a) { a[2][0] += 1; }) > 0.1);
  one.op = [](Context&, std::span<const Tensor>) {};  // leaves the NaN
  CHECK(error_of(context, one) == infinity);
  one.op = [&](Context& c, std::span<const Tensor> a) {
    squares().op(c, a);
    a[0].span<float>()[7] = 5;
  };
  CHECK(error_of([&] { error_of(context, one); }) == "squares: array 0 is only read, but changed");
}
