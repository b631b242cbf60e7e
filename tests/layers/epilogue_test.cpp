// A ReLU and a residual sum as the epilogue of a batch normalisation, and a ReLU as that of a convolution or a linear
// layer, fused forward and backward, against the same network with a dropout of probability 0 between them, which makes
// each a separate op.
#include <noisysgd/layers/model.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;
using kernels::SignGrain;

namespace {

// `between` is placed between the two.
std::string network(const std::string& kind, const std::string& between) {
  const std::string conv = R"({"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1},)",
                    end = R"({"type": "global_average_pool"}, {"type": "linear"}]})";
  const std::string start = R"({"type": "sequential", "layers": [)" + conv;
  const std::string norm = R"({"type": "batch_norm"})", relu = R"({"type": "relu"},)";
  if (kind == "conv") return start + between + relu + end;
  if (kind == "conv without bias")
    return start + R"({"type": "conv2d", "out_channels": 4, "kernel": 3, "bias": false},)" + between + relu + end;
  if (kind == "conv read twice")
    return start + between + relu + R"({"type": "residual", "body": [{"type": "batch_norm"}]},)" + end;
  if (kind == "linear")
    return start + R"({"type": "flatten"}, {"type": "linear", "out_features": 7},)" + between + relu +
           R"({"type": "linear", "out_features": 5, "bias": false},)" + between + relu + R"({"type": "linear"}]})";
  if (kind == "relu") return start + norm + "," + between + relu + end;
  if (kind == "nested")
    return start + R"({"type": "sequential", "layers": [)" + conv + norm + "]}," + between + relu + end;
  const std::string shortcut =
      kind == "projected" ? R"(, "shortcut": [{"type": "conv2d", "out_channels": 4, "kernel": 1}, )" + norm + "]" : "";
  std::string body = conv + norm;
  if (kind == "block in block") body = R"({"type": "residual", "body": [)" + body + "]}";
  if (kind == "body ends in ReLU") body += "," + between + relu.substr(0, relu.size() - 1);
  if (!between.empty()) body += "," + between.substr(0, between.size() - 1);
  return start + norm + "," + between + relu + R"({"type": "residual", "body": [)" + body + "]" + shortcut + "}," +
         (kind == "sum" ? "" : relu) + end;
}

struct Outcome {
  std::vector<float> logits, inferred, sums;
};

Outcome outcome_of(const std::string& json, const Statistics& statistics) {
  constexpr int64_t samples = 12, classes = 3;
  const Shape image{6, 5, 2};
  Context context(test_device, 2);
  Model model(context, network_from(json, image, classes, 4), classes);
  model.parameter_set().initialise(7);
  const Sums sums = all_sums(context, model.parameter_set());
  uint32_t stream = 20;
  for (const Parameter* parameter : model.parameters())  // of batch norm too
    copy_from_host<float>(context, random_tensor(parameter->shape.elements(), ++stream, 0.2f), parameter->value);
  const Batch batch = random_batch(context, image, samples, classes);
  const Tensor logits(context, {samples, classes});
  accumulate(model, batch,
             {.collect = statistics, .forward = {.samples = {.seed = 3}, .noise_step = 1, .logits = logits}}, sums);
  Outcome all{to_host<float>(context, logits), to_host<float>(context, model.logits(batch.images)), {}};
  for (const Block* block : {&sums.gradient, &sums.second_moment, &sums.signed_sum})
    for (const float value : values_of(context, model.parameters(), *block)) all.sums.push_back(value);
  return all;
}

}  // namespace

TEST_CASE("layers with an epilogue of a ReLU and a residual sum give what separate ops give") {
  const std::string kind = GENERATE("relu", "nested", "sum", "identity", "projected", "block in block",
                                    "body ends in ReLU", "conv", "conv without bias", "conv read twice", "linear");
  const SignGrain grain =
      GENERATE(SignGrain::none, SignGrain::sample, SignGrain::sample_channel, SignGrain::sample_position);
  const bool centred = GENERATE(false, true);
  if (kind == "conv read twice" && centred) return;  // the batch normalisation there refuses
  Statistics statistics{.second_moment = SecondMoment::exact};
  statistics.center_normalised = centred;
  statistics.signs = {grain, 0.5f};
  INFO(kind << ", grain " << static_cast<int>(grain) << ", centred " << centred);
  const Outcome together = outcome_of(network(kind, ""), statistics),
             apart = outcome_of(network(kind, R"({"type": "dropout", "probability": 0},)"), statistics);
  CHECK(compare(together.logits, to_double(apart.logits), {.terms = 100}) == "");
  CHECK(compare(together.inferred, to_double(apart.inferred), {.terms = 100}) == "");
  CHECK(compare(together.sums, to_double(apart.sums), {.terms = 100}) == "");
  if (test_device.backend != Backend::cpu) return;
  CHECK(together.logits == apart.logits);
  CHECK(together.inferred == apart.inferred);
  CHECK(together.sums == apart.sums);
}
