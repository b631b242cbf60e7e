// match_trace: noise of every structure has the trace that diagonal Fisher noise would have, or is refused.
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/optim/covariance_formulas.h"
#include "tests/optim/parameters.h"
#include "tests/optim/tiny_steps.h"

using namespace noisysgd;
using namespace noisysgd::test;

TEST_CASE("match_trace gives every structure the trace of diagonal Fisher noise") {
  TinyNetwork net;
  const double wanted = formula(net, Structure::full).trace();
  const auto traced = [&](const std::string& json) {
    INFO(json);
    TinySteps steps(net, json);
    double squares = 0;
    const int draws = 2000;
    for (int k = 0; k < draws; ++k)
      for (const double value : steps.draw(static_cast<uint32_t>(k))) squares += value * value / draws;
    CHECK(squares / wanted == Approx(1).margin(0.12));
  };
  traced(R"({"type": "isotropic", "sigma": 3, "match_trace": 2})");
  traced(R"({"type": "multiplicative", "sigma": 3, "match_trace": 2})");
  traced(R"({"type": "multiplicative", "sigma": 3, "per": "sample", "match_trace": 2})");
  traced(R"({"type": "fisher_trace", "small_batch": 4, "level": "literal", "match_trace": 2})");
  traced(R"({"type": "kfac", "small_batch": 4, "match_trace": 2})");
  traced(R"({"type": "full_fisher", "small_batch": 4, "centered": true, "match_trace": 2})");
  traced(R"({"type": "unit_fisher", "small_batch": 4, "match_trace": 2})");
  // Where diag(F) is not of the contributions that signs act on, the trace of their noise is not known.
  const FisherOptions ghosts{.batch_norm = GhostFisher::ghost_variance, .ghost_size = 2};
  const FisherOptions averaged{.ema = 0.5}, sampled{.labels = Labels::sampled};
  const auto refused = [&](const std::string& more, const FisherOptions& fisher) {
    TinySteps of_samples(net, R"({"match_trace": 2, )" + more + "}", {.fisher = fisher, .keep_gradient = true});
    return error_of([&] { of_samples.draw(0); });
  };
  for (const std::string type : {R"("type": "full_fisher")", R"("type": "block_fisher")"}) {
    CHECK(refused(type, ghosts) ==
          "noise.match_trace: this noise is made of single gradients, whose trace needs fisher.batch_norm of "
          "\"activation\", not \"ghost_variance\"");
    CHECK(refused(type, averaged) ==
          "noise.match_trace: this noise is made of the step's own gradients, whose trace needs fisher.refresh_every "
          "of 1 and fisher.ema of 0");
  }
  CHECK(refused(R"("type": "full_fisher", "centered": true)", sampled) ==
        "noise.match_trace: this noise is centred, and the mean gradient at sampled labels is not kept; it needs "
        "fisher.kind of \"empirical\"");
  TinySteps label(net, R"({"type": "label", "match_trace": 2})");
  CHECK_THROWS_WITH(label.draw(0), "noise.match_trace: the trace of 'label' is not known before it is drawn");
}

// The factor that match_trace multiplies the noise by is seen in one draw; the trace of the covariance without it is
// the formula's, and so is the trace that is wanted: of the configured diag(F), from single samples in double
// precision.
TEST_CASE("noise under match_trace has the trace of the configured diag(F), or is refused") {
  TinyNetwork net;
  const SecondMoment conv = GENERATE(SecondMoment::exact, SecondMoment::spatial, SecondMoment::spatial_mean);
  const int64_t micro = GENERATE(8, 3);
  const FisherOptions fisher{.conv = conv};
  Vector diagonal(size), mean(size);
  for (int64_t n = 0; n < net.samples; ++n) {
    const Vector whole = net.gradient(n);
    const std::vector<Vector> parts = net.parts(n);
    for (size_t i = 0; i < size; ++i) {
      double squares = 0;  // of single positions
      for (const Vector& part : parts) squares += part[i] * part[i];
      const bool weight = i < 8;
      diagonal[i] += (conv == SecondMoment::exact || !weight ? whole[i] * whole[i]
                      : conv == SecondMoment::spatial        ? squares
                                                             : squares / TinyNetwork::positions) /
                     m;
      mean[i] += whole[i] / m;
    }
  }
  const double trace = std::accumulate(diagonal.begin(), diagonal.end(), 0.0);
  double mean_squared = 0;
  for (const double g : mean) mean_squared += g * g;
  const double of_f = formula(net, Structure::full).trace();
  struct {
    std::string noise;
    double own;  // trace of the covariance without match_trace
    bool whole_gradients;
  } const cases[] = {
      {R"("type": "isotropic", "sigma": 3)", 9.0 * size, false},
      {R"("type": "multiplicative", "sigma": 3)", 9 * mean_squared, false},
      {R"("type": "multiplicative", "sigma": 3, "per": "sample")", 9 / m * of_f / kappa, true},
      {R"("type": "fisher_trace", "small_batch": 2)", kappa * trace, false},
      {R"("type": "diagonal_fisher", "small_batch": 2)", kappa * trace, false},
      {R"("type": "kfac", "small_batch": 2, "jitter": 0)", formula(net, Structure::kronecker).trace(), false},
      {R"("type": "full_fisher", "small_batch": 2)", of_f, true},
      {R"("type": "full_fisher", "small_batch": 2, "signs": "subset")", formula(net, Structure::centered).trace(),
       true},
      {R"("type": "block_fisher", "small_batch": 2)", of_f, true},
      {R"("type": "unit_fisher", "small_batch": 2)", of_f, true},
      {R"("type": "position_fisher", "small_batch": 2)", formula(net, Structure::position).trace(), false},
  };
  for (const auto& [noise, own, whole_gradients] : cases) {
    INFO(noise << " fisher.conv " << name_of(conv));
    const StepOptions options{.fisher = fisher, .keep_gradient = true};
    TinySteps plain(net, "{" + noise + "}", options), matched(net, "{" + noise + R"(, "match_trace": 3})", options);
    if (whole_gradients && conv != SecondMoment::exact) {
      CHECK(error_of([&] { matched.draw(0, micro); }) ==
            fmt::format("noise.match_trace: this noise is made of whole gradients, whose trace needs fisher.conv of "
                        "\"exact\", not \"{}\"",
                        name_of(conv)));
      continue;
    }
    const Vector before = plain.draw(0, micro), after = matched.draw(0, micro);
    double squares_before = 0, squares_after = 0;
    for (const double value : before) squares_before += value * value;
    for (const double value : after) squares_after += value * value;
    REQUIRE(squares_before > 0);
    CHECK(own * squares_after / squares_before == Approx((1.0 / 3 - 1.0 / 8) * trace).epsilon(1e-4));
  }
}

TEST_CASE("the variance of noise with signs per position is that of its terms, for batch normalisation too") {
  Context context({}, 1);
  Model model(context,
              network_from(R"({"type": "sequential", "layers": [
                {"type": "conv2d", "out_channels": 3, "kernel": 2}, {"type": "batch_norm"}, {"type": "relu"},
                {"type": "flatten"}, {"type": "linear"}]})",
                           {4, 4, 1}, 3),
              3);
  model.parameter_set().initialise(2);
  const Batch batch = random_batch(context, {4, 4, 1}, 6, 3);
  Noise noise = noise_from(R"({"type": "position_fisher", "small_batch": 2, "match_trace": 2})");
  Sgd sgd;
  Step step(context, model, noise, sgd, nullptr, {.seed = 5, .keep_gradient = true});
  step.begin_noise();
  std::vector<double> squares(model.parameters().size()), variance(squares.size());
  constexpr int draws = 4000;
  for (uint32_t number = 0; number < draws; ++number) {
    const StepRecipe recipe = step.recipe({.values = {.step = number}, .samples = 6, .noise = true});
    step.accumulate(recipe, [&](const StepNumbers&, int64_t, int64_t) { return batch; }, {.step = number});
    for (size_t i = 0; i < squares.size(); ++i) {
      const Parameter& parameter = *model.parameters()[i];
      const Tensor sums = step.sums().signed_sum.of(parameter), own = step.sums().signed_variance.of(parameter);
      for (const float value : sums.span<float>()) squares[i] += double{value} * value / draws;
      const auto variances = own.span<float>();  // the same in every step
      variance[i] = std::accumulate(variances.begin(), variances.end(), 0.0);
    }
  }
  for (size_t i = 0; i < squares.size(); ++i) {
    INFO(model.parameters()[i]->name);
    CHECK(variance[i] > 0);
    CHECK(squares[i] == Approx(variance[i]).epsilon(0.08));
  }
}
