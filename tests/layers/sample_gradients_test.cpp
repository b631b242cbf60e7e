// The gradient of every sample as a row, collected in one backward pass: what passes over single samples give.
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/sample_network.h"

using namespace noisysgd;
using namespace noisysgd::test;
using namespace noisysgd::test::single_samples;

namespace {

// The rows of the batch in passes of `micro` samples. sums, collect: what the same passes collect in addition.
std::vector<float> rows_of(Network& net, int64_t micro, Sums sums = {}, const Statistics& collect = {}) {
  sums.sample_gradients = zeros(net.context, {samples, net.model.parameter_set().padded()});
  for (int64_t begin = 0; begin < samples; begin += micro)
    accumulate(net.model, net.batch.rows(begin, begin + micro),
               {.collect = collect, .forward = {.samples = {.offset = begin}}}, sums);
  return to_host<float>(net.context, sums.sample_gradients);
}

}  // namespace

TEST_CASE("rows are the gradients of passes over single samples") {
  Network net(plain);
  const Block gradient(net.context, net.model.parameter_set());
  std::vector<double> expected;
  for (int64_t n = 0; n < samples; ++n) {
    fill(net.context, gradient.all(), 0.0f);
    accumulate(net.model, net.batch.rows(n, n + 1), {}, {.gradient = gradient});
    for (const float value : to_host<float>(net.context, gradient.all())) expected.push_back(value);
  }
  const int64_t micro = GENERATE(6, 3, 2, 1);
  CHECK(compare(rows_of(net, micro), expected, within(1e-5)) == "");
  CHECK(compare(rows_of(net, micro, {.gradient = gradient}), expected, within(1e-5)) == "");
}

TEST_CASE("rows add up to the gradient and their squares to the exact second moment, batch normalisation included") {
  Network net(normalised, 3);
  const int64_t micro = GENERATE(6, 3);
  const bool signs = GENERATE(false, true);
  const Sums sums = all_sums(net.context, net.model.parameter_set());
  const std::vector<float> rows =
      rows_of(net, micro, sums, {.second_moment = SecondMoment::exact,
                             .signs = {signs ? kernels::SignGrain::sample : kernels::SignGrain::none}});
  const size_t width = rows.size() / samples;
  std::vector<double> gradient(width), squares(width);
  for (size_t i = 0; i < rows.size(); ++i) {
    gradient[i % width] += rows[i];
    squares[i % width] += static_cast<double>(rows[i]) * rows[i];
  }
  CHECK(compare(to_host<float>(net.context, sums.gradient.all()), gradient, within(1e-5)) == "");
  CHECK(compare(to_host<float>(net.context, sums.second_moment.all()), squares, within(1e-5)) == "");
}
