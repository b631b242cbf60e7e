// Which layer a step names when its loss is not finite: the first one in the pass that showed it.
#include <string>
#include <vector>

#include <noisysgd/optim/sgd.h>
#include <noisysgd/optim/step.h>
#include "tests/catch.h"
#include "tests/layers/network.h"
#include "tests/optim/parameters.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr int64_t samples = 12, features = 2, classes = 2;
constexpr uint64_t seed = 5;
constexpr uint32_t number = 3;  // of the step
constexpr float large = 1e30f, factor = 1e10f;

// A sample whose feature 0 is large overflows in linear1, one whose feature 1 is large in linear2.
struct Overflowing {
  explicit Overflowing(const std::string& first_layer)
      : model(context,
              network_from(R"({"type": "sequential", "layers": [)" + first_layer +
                               R"(, {"type": "linear", "out_features": 2, "bias": false},
                                    {"type": "linear", "bias": false}]})",
                           {features}, classes),
              classes),
        images(samples * features) {
    copy_from_host<float>(context, std::vector<float>{factor, 0, 0, 1}, model.parameters()[0]->value);
    copy_from_host<float>(context, std::vector<float>{0, factor, 1, 0}, model.parameters()[1]->value);
  }

  // "none" where the loss is finite.
  std::string named(StepOptions options, const std::string& noise_json = R"({"type": "none"})") {
    options.seed = seed;
    Noise noise = noise_from(noise_json);
    Sgd sgd;
    Step step(context, model, noise, sgd, nullptr, options);
    step.begin_noise();
    const Batch batch{from_host(context, {samples, features}, images),
                      from_host(context, {samples}, std::vector<int32_t>(samples))};
    const BatchSource source = [&](const StepNumbers&, int64_t begin, int64_t count) {
      return batch.rows(begin, begin + count);
    };
    const StepRequest request{.values = {number, 0, 0, 0.5f}, .samples = samples, .noise = noise.active()};
    step.run(request, source);
    const kernels::TrainingSums sums = step.training_sums().read();
    if (!sums.halted) return "none";
    return step.first_nonfinite_layer(request, source, sums.halted_sums);
  }

  Context context{{}, 1};
  Model model;
  std::vector<float> images;
};

}  // namespace

TEST_CASE("the layer that a step names is found with the dropout mask of its micro-batch") {
  constexpr float probability = 0.5f;
  const auto kept = [&](int64_t sample, int64_t feature) {
    const RandomStream stream{seed, number, stream_of("dropout1"), RandomPurpose::dropout};
    return uniform_from_word(random_word(stream, static_cast<uint64_t>(sample * features + feature))) >= probability;
  };
  const auto named_for = [&](int64_t sample) -> std::string {
    return kept(sample, 0) ? "linear1" : kept(sample, 1) ? "linear2" : "none";
  };
  for (const int64_t micro : {1, 3, 5, 12}) {
    int misled = 0;  // samples that with another's mask would have another layer named
    for (int64_t sample = 0; sample < samples; ++sample) {
      INFO("sample " << sample << " of micro-batches of " << micro);
      Overflowing network(R"({"type": "dropout", "probability": 0.5})");
      for (int64_t feature = 0; feature < features; ++feature) network.images[sample * features + feature] = large;
      const std::string expected = named_for(sample);
      CHECK(network.named({.micro = micro}) == expected);
      misled += expected != "none" && named_for(sample % micro) != expected;
    }
    CHECK((micro == samples || misled > 0));
  }
}

TEST_CASE("the layer that a step names is found in the pass whose loss is not finite, not in a later one") {
  Overflowing network(R"({"type": "flatten"})");
  constexpr int64_t pass = 4;
  network.images[(pass + 1) * features + 1] = large;  // linear2
  network.images[2 * pass * features] = large;        // linear1
  CHECK(network.named({}) == "linear1");
  CHECK(network.named({.micro = pass}) == "linear2");
  FisherOptions fisher;
  fisher.batch_norm = GhostFisher::ghost_variance;
  fisher.ghost_size = pass;
  CHECK(network.named({.fisher = fisher}, R"({"type": "diagonal_fisher", "small_batch": 4})") == "linear2");
}
