#include <noisysgd/optim/weight_average.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

std::unique_ptr<Layer> network() {
  return network_from(R"({"type": "sequential", "layers": [
    {"type": "flatten"}, {"type": "linear", "out_features": 6}, {"type": "batch_norm"}, {"type": "linear"}]})",
                      {2, 2, 1}, 3);
}

// Other values for every parameter and buffer; returns them one after the other.
std::vector<double> overwrite(Model& model, uint32_t stream) {
  std::vector<double> all;
  const auto set = [&](const Tensor& tensor) {
    const auto values = random_tensor(tensor.elements(), stream++, 0.5f);
    std::copy(values.begin(), values.end(), tensor.f32());
    all.insert(all.end(), values.begin(), values.end());
  };
  for (const Parameter* parameter : model.parameters()) set(parameter->value);
  for (const Buffer* buffer : model.buffers()) set(buffer->value);
  return all;
}

std::vector<float> values_of(Model& model) {
  std::vector<float> all;
  const auto add = [&](const Tensor& tensor) { all.insert(all.end(), tensor.f32(), tensor.f32() + tensor.elements()); };
  for (const Parameter* parameter : model.parameters()) add(parameter->value);
  for (const Buffer* buffer : model.buffers()) add(buffer->value);
  return all;
}

}  // namespace

TEST_CASE("the average of weights and running statistics follows its recursion and replaces them only while used") {
  Context context;
  Model model(context, network(), 3);
  const double decay = 0.75;
  std::vector<double> expected = overwrite(model, 1);
  WeightAverage average(context, model, static_cast<float>(decay));
  for (uint32_t step = 1; step <= 3; ++step) {
    const std::vector<double> latest = overwrite(model, 100 * step);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] = decay * expected[i] + (1 - decay) * latest[i];
    average.update();
  }
  const std::vector<float> latest = values_of(model);
  {
    const WeightAverage::Use use(average);
    CHECK(compare(values_of(model), expected, {.terms = 12}) == "");
  }
  CHECK(values_of(model) == latest);
  average.restart();
  const WeightAverage::Use use(average);
  CHECK(values_of(model) == latest);
}
