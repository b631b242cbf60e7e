// The example's layer on the CUDA device, against the CPU.
#include <array>

#include "docs/examples/extending/swish.h"
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Output, gradient of the input, sum of the slope's gradients and sum of their squares.
std::array<std::vector<float>, 4> results_on(const Device& device) {
  Context context(device);
  const int64_t samples = 5, features = 300;
  Swish layer("swish1", {features});
  const ParameterSet parameters(context, layer.parameters());
  const Parameter& weight = *parameters.list()[0];
  copy_from_host<float>(context, std::vector{1.3f}, weight.value);
  const Block gradients(context, parameters), second_moments(context, parameters);
  Tape tape;
  const Variable input = tape.leaf(from_host(context, {samples, features}, random_tensor(samples * features, 1)));
  const Variable y = layer.forward({context, &tape, true}, input);
  tape.backward(
      context, y, from_host(context, {samples, features}, random_tensor(samples * features, 2)),
      {.statistics = {SecondMoment::exact}, .into = {.gradient = gradients, .second_moment = second_moments}});
  return {to_host<float>(context, y.value), to_host<float>(context, tape.gradient(input)),
          to_host<float>(context, gradients.all()), to_host<float>(context, second_moments.all())};
}

}  // namespace

TEST_CASE("the example's swish computes on the device what it computes on the CPU") {
  const auto cpu = results_on({}), cuda = results_on({Backend::cuda});
  for (size_t i = 0; i < cpu.size(); ++i) {
    CAPTURE(i);
    CHECK(compare(cuda[i], to_double(cpu[i]), {.terms = 1500}) == "");
  }
}
