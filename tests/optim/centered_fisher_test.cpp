// fisher.batch_norm "activation_centered": the networks that it applies to, and its distance from the variance that it
// approximates. For its sums see tests/layers/centered_sums_test.cpp.
#include <noisysgd/optim/sgd.h>
#include <noisysgd/optim/step.h>
#include "tests/catch.h"
#include "tests/layers/network.h"
#include "tests/optim/parameters.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::test;

TEST_CASE("activation_centered is refused by the layer's name for a network that it does not apply to") {
  const auto check = [](const std::string& layers) {
    Context context;
    const Model model(context, network_from(R"({"type": "sequential", "layers": [)" + layers + "]}", {6, 6, 2}, 3), 3);
    check_network({.batch_norm = GhostFisher::ghost_variance}, model.graph());
    check_network({.batch_norm = GhostFisher::activation_centered}, model.graph());
  };
  const std::string conv = R"({"type": "conv2d", "out_channels": 2, "kernel": 3, "padding": 1}, )",
                    norm = R"({"type": "batch_norm"}, )", end = R"({"type": "flatten"}, {"type": "linear"})";
  CHECK_NOTHROW(
      check(conv + norm + R"({"type": "residual", "body": [)" + conv + R"({"type": "batch_norm"}]}, )" + end));
  CHECK_NOTHROW(
      check(R"({"type": "flatten"}, {"type": "linear", "out_features": 5}, )" + norm + R"({"type": "linear"})"));
  CHECK_THROWS_WITH(check(conv + R"({"type": "relu"}, )" + norm + end),
                    "fisher.batch_norm: \"activation_centered\" does not apply to 'bn1': its input comes from 'relu1', "
                    "which is not a linear layer or a convolution");
  CHECK_THROWS_WITH(check(norm + end),
                    "fisher.batch_norm: \"activation_centered\" does not apply to 'bn1': its input comes from 'input', "
                    "which is not a linear layer or a convolution");
  CHECK_THROWS_WITH(
      check(conv + R"({"type": "residual", "body": [{"type": "batch_norm"}]}, )" + end),
      Catch::Matchers::Contains("does not apply to 'block1.bn1': another layer also reads the output of "
                                "'conv1'"));
  CHECK_THROWS_WITH(check(conv + end),
                    "fisher.batch_norm: \"activation_centered\" does not apply to this network: it has no batch_norm");
}

// One linear layer, batch normalisation and the loss, far from the minimum: against the covariance of the gradients of
// ghost batches, activation x backprop grows with the distance of the inputs' mean from 0; the centred contributions do
// not depend on that mean and have the right trace.
TEST_CASE("centred contributions have the trace of the ghost-batch gradients' covariance") {
  constexpr int64_t ghost = 128, groups = 1600, inputs = 6, classes = 4;
  const auto [offset, plain] = GENERATE(table<float, double>({{0.0f, 1.21}, {0.3f, 1.53}, {1.0f, 4.82}}));
  Context context;
  Model model(context,
              network_from(R"({"type": "sequential", "layers": [{"type": "linear", "bias": false},
                              {"type": "batch_norm", "ghost_size": 128}]})",
                           {inputs}, classes),
              classes);
  model.parameter_set().initialise(3);
  const auto samples = ghost * groups;
  const Batch batch{from_host(context, {samples, inputs}, random_tensor(samples * inputs, 1, offset)),
                    from_host(context, {samples}, random_integers(samples, 2, classes))};
  const auto trace = [&](GhostFisher kind) {
    const FisherOptions fisher{.batch_norm = kind, .ghost_size = ghost};
    Noise noise = noise_from(R"({"type": "diagonal_fisher", "small_batch": 2})");
    Sgd sgd;
    Step step(context, model, noise, sgd, nullptr, {.fisher = fisher});
    step.begin_noise();
    const BatchSource source = [&](const StepNumbers&, int64_t begin, int64_t count) {
      return batch.rows(begin, begin + count);
    };
    step.accumulate(step.recipe({.samples = samples, .noise = true}), source, {});
    return fisher_trace(context, {fisher, step.sums(), samples, {}}, {model.parameters()[0]}).data<double>()[0];
  };
  const double truth = trace(GhostFisher::ghost_variance);
  CHECK(truth > 0);
  CHECK(trace(GhostFisher::activation) / truth == Approx(plain).epsilon(0.02));
  CHECK(trace(GhostFisher::activation_centered) / truth == Approx(1).epsilon(0.02));  // the truth's own error: 0.8 %
}
