// ||g_n||^2 of every sample, collected in one backward pass: what passes over single samples give.
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/sample_network.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::test;
using namespace noisysgd::test::single_samples;

namespace {

// The norms of a batch in passes of `micro` samples.
std::vector<float> norms(Network& net, int64_t micro, Sums sums = {}, const Statistics& collect = {}) {
  sums.sample_norms = zeros(net.context, {samples});
  for (int64_t begin = 0; begin < samples; begin += micro)
    accumulate(net.model, net.batch.rows(begin, begin + micro),
               {.collect = collect, .forward = {.samples = {.offset = begin}}}, sums);
  return to_host<float>(net.context, sums.sample_norms);
}

double sum_of_squares(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

}  // namespace

TEST_CASE("the norms of a batch are those of passes over single samples") {
  Network net(plain);
  const Block gradient(net.context, net.model.parameter_set());
  std::vector<double> expected;
  for (int64_t n = 0; n < samples; ++n) {
    fill(net.context, gradient.all(), 0.0f);
    accumulate(net.model, net.batch.rows(n, n + 1), {}, {.gradient = gradient});
    expected.push_back(sum_of_squares(to_host<float>(net.context, gradient.all())));
  }
  const int64_t micro = GENERATE(6, 3, 2, 1);
  CHECK(compare(norms(net, micro), expected, within(1e-5)) == "");
  CHECK(compare(norms(net, micro, {.gradient = gradient}), expected, within(1e-5)) == "");
}

TEST_CASE("norms add up to the trace of the exact second moment, batch normalisation included") {
  Network net(normalised, 3);
  const int64_t micro = GENERATE(6, 3);
  const Sums sums = all_sums(net.context, net.model.parameter_set());
  double total = 0, trace = 0;
  for (const float norm : norms(net, micro, sums, {.second_moment = SecondMoment::exact})) total += norm;
  for (const float square : to_host<float>(net.context, sums.second_moment.all())) trace += square;
  CHECK(total == Approx(trace).epsilon(1e-5));
  CHECK(trace > 0);
}

TEST_CASE("the norms of a batch normalisation's samples, with and without random signs beside them") {
  const bool signs = GENERATE(false, true), relu = GENERATE(false, true);
  Context context(test_device, 2);
  const kernels::BatchNormShape shape{samples, 5, 4, 3};
  const auto network = network_from(relu ? R"({"type": "sequential", "layers": [{"type": "batch_norm", "epsilon": 1e-5},
                                                                               {"type": "relu"}]})"
                                         : R"({"type": "batch_norm", "epsilon": 1e-5})",
                                    {5, 1, 4}, 5, 3);
  const ParameterSet set(context, network->parameters());
  bind_buffers(context, network->buffers());
  const std::vector<float> gamma = random_tensor(4, 1, 1), beta = random_tensor(4, 2);
  const std::vector<float> x = random_tensor(samples * 20, 3), grad_y = random_tensor(samples * 20, 4);
  copy_from_host<float>(context, gamma, set.list()[0]->value);
  copy_from_host<float>(context, beta, set.list()[1]->value);
  const reference::BatchNorm norm =
      reference::batch_norm_forward(shape, 1e-5, to_double(x), to_double(gamma), to_double(beta));
  std::vector<double> expected(samples);
  for (size_t n = 0; n < samples; ++n)
    for (size_t c = 0; c < 4; ++c) {
      double of_beta = 0, of_gamma = 0;
      for (size_t i = n * 20 + c; i < (n + 1) * 20; i += 4) {
        if (relu && norm.y[i] <= 0) continue;
        of_beta += grad_y[i];
        of_gamma += grad_y[i] * norm.normalised[i];
      }
      expected[n] += of_beta * of_beta + of_gamma * of_gamma;
    }

  Tape tape;
  const Shape images{samples, 5, 1, 4};
  const Variable y = network->forward({context, &tape, true}, tape.leaf(from_host(context, images, x)));
  Sums sums = all_sums(context, set);
  sums.sample_norms = zeros(context, {samples});
  tape.backward(context, y, from_host(context, images, grad_y),
                {.statistics = {.signs = {signs ? kernels::SignGrain::sample : kernels::SignGrain::none}},
                 .into = sums});
  CHECK(compare(to_host<float>(context, sums.sample_norms), expected, within(1e-4)) == "");
  CHECK((sum_of_squares(to_host<float>(context, sums.signed_sum.all())) > 0) == signs);
}

TEST_CASE("collecting norms changes nothing else that a pass collects") {
  Network net(GENERATE(plain, normalised), 3);
  const ParameterSet& parameters = net.model.parameter_set();
  const Sums with = all_sums(net.context, parameters), without = all_sums(net.context, parameters);
  const Passes passes{.collect = {.second_moment = SecondMoment::exact, .signs = {kernels::SignGrain::sample}}};
  norms(net, samples, with, passes.collect);
  accumulate(net.model, net.batch, passes, without);
  for (const auto block : {&Sums::gradient, &Sums::second_moment, &Sums::signed_sum}) {
    const std::vector<float> values = to_host<float>(net.context, (with.*block).all());
    CHECK(values == to_host<float>(net.context, (without.*block).all()));
    CHECK(sum_of_squares(values) > 0);
  }
}
