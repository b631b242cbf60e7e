// The precision policy of the CUDA backend: bounds of the distance from double precision, and a check that the allowed
// rounding is used. Relative errors are over the whole result; the bounds are those of second moments, which square the
// rounding.
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/gemm.h>
#include "tests/catch.h"
#include "tests/kernels/mirrored.h"
#include "tests/reference/reference.h"
#include "tests/reference/second_moment_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// Rounding of operands to tf32 (2^-11 at most) shows above 1e-5. Arrays of fp32 are treated alike under tf32 and half.
struct Bar {
  Precision precision;
  double at_least, at_most;
};
const Bar bars[] = {{Precision::fp32, 0, 1e-5}, {Precision::tf32, 1e-5, 1e-3}, {Precision::half, 1e-5, 1e-3}};

void check(const Bar& bar, double error) {
  CAPTURE(name_of(bar.precision));
  CHECK(error <= bar.at_most);
  CHECK(error >= bar.at_least);
}

}  // namespace

TEST_CASE("matrix products and second moments of linear layers have the configured precision") {
  Queue queue({Backend::cuda});
  const int64_t m = 24, n = 40, k = 96;
  const std::vector<float> a = random_tensor(k * m, 1), b = random_tensor(k * n, 2);
  const std::vector<double> product = reference::product(true, false, m, n, k, to_double(a), to_double(b));
  const std::vector<double> moment = reference::linear_second_moment(k, m, n, to_double(b), to_double(a));
  for (const Bar& bar : bars) {
    queue.set_precision(bar.precision);
    Floats left(a), right(b), result(nan_tensor(m * n)), squares(std::vector<float>(static_cast<size_t>(m * n)));
    gemm(queue, Transpose::yes, Transpose::no, m, n, k, 1.0f, left.on(queue), right.on(queue), 0.0f, result.on(queue));
    linear_second_moment(queue, k, m, n, right.on(queue), left.on(queue), squares.on(queue));
    queue.synchronize();
    check(bar, relative_error(result.on_cuda(), product));
    CHECK(relative_error(squares.on_cuda(), moment) <= bar.at_most);
  }
}

TEST_CASE("convolutions' weight gradients and second moments have the configured precision") {
  Queue queue({Backend::cuda});
  const ConvShape s{3, 8, 8, 32, 32, 3, 3, 1, 1, 1, 1};
  const std::vector<float> x = random_tensor(s.batch * 64 * 32, 1, 0.3f),
                           grad_y = random_tensor(s.batch * 64 * 32, 2, 0.1f);
  const SecondMomentReference expected = second_moment_reference(s, x, grad_y);
  for (const Bar& bar : bars) {
    queue.set_precision(bar.precision);
    const std::vector<float> zeros(static_cast<size_t>(s.weights()));
    Floats input(x), grad(grad_y), gradient(zeros), moment(zeros);
    conv_second_moment_exact(queue, s, input.on(queue), grad.on(queue), gradient.on(queue), moment.on(queue));
    queue.synchronize();
    const double error = relative_error(moment.on_cuda(), expected.exact);
    CHECK(error <= bar.at_most);
    CHECK((bar.precision == Precision::fp32 || error >= 1e-5));  // tensor cores did the work
    CHECK(relative_error(gradient.on_cuda(), expected.sum) <= bar.at_most);
  }
}
