// Folding batch normalisations into the layers before them.
#include <noisysgd/layers/fold.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/layers/trained.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr int64_t classes = 10;

std::vector<std::string> names_of(const Model& model) {
  std::vector<std::string> names;
  for (const Parameter* parameter : model.parameters()) names.push_back(parameter->name);
  return names;
}

std::string layers(const std::string& list) { return R"({"type": "sequential", "layers": [)" + list + "]}"; }

const std::string conv = R"({"type": "conv2d", "out_channels": 3, "kernel": 3})", norm = R"({"type": "batch_norm"})",
                  relu = R"({"type": "relu"})", end = R"({"type": "flatten"}, {"type": "linear"})";

}  // namespace

TEST_CASE("a folded model gives the same scores, without batch normalisations") {
  const std::string network =
      GENERATE(R"({"type": "vgg16"})", R"({"type": "alexnet"})", R"({"type": "resnet", "depth": 20})",
               R"({"type": "resnet", "depth": 8, "shortcut": "identity_pad"})");
  CAPTURE(network);
  const Shape image{32, 32, 3};
  Context context(test_device);
  const Batch batch = random_batch(context, image, 3, classes);
  Model model = trained(context, network_from(network, image, classes), classes);
  const std::vector<float> expected = to_host<float>(context, model.logits(batch.images));
  REQUIRE(!model.buffers().empty());
  Model folded = std::move(model).fold_batch_norm();
  CHECK(folded.buffers().empty());
  CHECK(compare(to_host<float>(context, folded.logits(batch.images)), to_double(expected), within(1e-5)) == "");
  for (const GraphNode& node : folded.graph().nodes) CHECK(node.type != "batch_norm");
  CHECK(folded.coupling().usable(23) == 23);
}

TEST_CASE("what is folded are the layers' own weights and biases, in sequences within sequences too") {
  Context context(test_device);
  const Shape image{6, 5, 2};
  const std::string network =
      layers(layers(conv) + "," + layers(norm + "," + relu) + "," + layers(conv + "," + norm + "," + norm) + "," +
             norm + R"(,{"type": "flatten"}, {"type": "linear", "out_features": 4, "bias": false},)" + norm +
             R"(,{"type": "linear"})");
  const Batch batch = random_batch(context, image, 4, classes);
  Model model = trained(context, network_from(network, image, classes), classes);
  const std::vector<float> expected = to_host<float>(context, model.logits(batch.images));
  Model folded = trained(context, network_from(network, image, classes), classes, true);
  CHECK(compare(to_host<float>(context, folded.logits(batch.images)), to_double(expected), within(1e-5)) == "");
  CHECK(names_of(folded).size() == 8);
  CHECK(names_of(folded)[4] == "linear1.weight");
  CHECK(names_of(folded)[5] == "linear1.bias");
  // It can be trained: its layers, with the biases that they have now, collect what others do.
  const Sums sums{.gradient = Block(context, folded.parameter_set()),
                  .kronecker = kronecker_sums(context, folded.parameter_set(), true)};
  accumulate(folded, batch, {.collect = {.kronecker_input = true, .kronecker_output = true}}, sums);
  for (const float value : values_of(context, folded.parameters(), sums.gradient)) CHECK(std::isfinite(value));
  const KroneckerSums& of_linear = sums.kronecker->at(2);
  CHECK(of_linear.shape->bias == folded.parameters()[5]);
  CHECK(to_host<float>(context, of_linear.input).back() ==
        static_cast<float>(batch.size()));  // of the bias's own input
}

TEST_CASE("a batch normalisation that no layer takes is named") {
  Context context(test_device);
  const Shape image{6, 5, 2};
  const auto refused = [&](const std::string& list) {
    return error_of([&] { trained(context, network_from(layers(list), image, classes), classes, true); });
  };
  const std::string alone = "batch_norm 'bn1' cannot be folded: no layer stands right before it in its sequence";
  CHECK(refused(norm + "," + conv + "," + end) == alone);
  CHECK(refused(conv + R"(,{"type": "residual", "body": [)" + norm + "]}," + end) ==
        "batch_norm 'block1.bn1' cannot be folded: no layer stands right before it in its sequence");
  CHECK(refused(conv + "," + relu + "," + norm + "," + end) ==
        "batch_norm 'bn1' cannot be folded: the layer before it, 'relu1', is neither a linear layer nor a convolution");
  CHECK(
      refused(R"({"type": "residual", "body": []},)" + norm + "," + end) ==
      "batch_norm 'bn1' cannot be folded: the layer before it, 'block1', is neither a linear layer nor a convolution");
}
