// The parts of a training step other than its layers, on both devices: the choice of samples, their weights, the
// counts, and the numbers that scale the update.
#include <cmath>

#include <noisysgd/kernels/adamw_step.h>
#include <noisysgd/kernels/memory.h>
#include <noisysgd/kernels/pick_samples.h>
#include <noisysgd/kernels/sample_weights.h>
#include <noisysgd/kernels/step_factors.h>
#include <noisysgd/kernels/training_sums.h>
#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("both devices pick the same samples, by the epoch and position in device memory") {
  BothQueues both;
  for (const bool shuffled : {false, true})
    for (const int64_t samples : {0, 1, 33, 300}) {
      CAPTURE(shuffled, samples);
      constexpr int64_t count = 333;
      Mirrored<int32_t> all(random_integers(count, 1, 10)), indices(std::vector<int32_t>(samples, -7)),
          labels(std::vector<int32_t>(samples, -7));
      Mirrored<uint32_t> epoch({5});
      Mirrored<int64_t> first({100});
      both.run([&](Queue& q) {
        const SampleOrder order{count, shuffled, 9, {4, epoch.on(q)}, {0, first.on(q)}, 8};
        pick_samples(q, order, samples, all.on(q), indices.on(q), labels.on(q));
      });
      CHECK(indices.same_bits());
      CHECK(labels.same_bits());
      for (int64_t m = 0; m < samples; ++m) {
        const int32_t index = indices.on_cpu()[m];
        if (!shuffled) CHECK(index == (108 + m < count ? 108 + m : -1));
        CHECK(labels.on_cpu()[m] == (index < 0 ? -1 : all.on_cpu()[index]));
        CHECK((index < 0) == (108 + m >= count));
      }
    }
}

TEST_CASE("both devices draw the same sample weights") {
  BothQueues both;
  const RandomStream stream{7, 3, 0, RandomPurpose::sample_weights};
  for (const SampleWeights& options : {SampleWeights{.scale = 2}, SampleWeights{.draw = SampleDraw::sign, .scale = 2},
                                       SampleWeights{.draw = SampleDraw::sign, .group = 4, .centered = true},
                                       SampleWeights{.draw = SampleDraw::normal, .scale = 0.5f},
                                       SampleWeights{.draw = SampleDraw::normal, .centered = true},
                                       SampleWeights{.draw = SampleDraw::subset, .chosen = 7},
                                       SampleWeights{.draw = SampleDraw::subset, .chosen = 9999}})
    for (const int64_t samples : {0, 31, 1025}) {
      CAPTURE(static_cast<int>(options.draw), options.centered, options.chosen, samples);
      Mirrored<float> weights(nan_tensor(samples));
      both.run([&](Queue& q) { sample_weights(q, options, stream, samples, 1.0f, 0.3f, weights.on(q)); });
      CHECK(weights.difference({.terms = 4}) == "");
    }
}

TEST_CASE("equal words of a subset are ordered by sample on both devices") {
  BothQueues both;
  // Of this seed's words, those of samples 131 and 556 are equal and 673 are smaller.
  const RandomStream stream{3434, 3, 0, RandomPurpose::sample_weights};
  REQUIRE(random_word(stream, 131) == random_word(stream, 556));
  Mirrored<float> weights(nan_tensor(1025));
  const SampleWeights options{.draw = SampleDraw::subset, .chosen = 674};
  both.run([&](Queue& q) { sample_weights(q, options, stream, 1025, 1.0f, 0.3f, weights.on(q)); });
  CHECK(weights.difference({.terms = 4}) == "");
  for (const auto& values : {weights.on_cpu(), weights.on_cuda()}) CHECK(values[131] > values[556]);
}

TEST_CASE("the numbers that scale a step agree on both devices") {
  BothQueues both;
  Mirrored<double> given({2.0, -3.0, 50.0, 0.0, NAN}), totals(std::vector<double>(3, NAN)),
      clips(std::vector<double>(2, NAN));
  Mirrored<float> variances(std::vector<float>(3, 7)), factors(std::vector<float>(6, 7));
  both.run([&](Queue& q) {
    const double* x = given.on(q);
    const std::vector<ScalarTerm> few{{0.5, x, x + 2}, {2, x + 1, nullptr}}, many(2500, ScalarTerm{0.25, x, nullptr});
    weighted_total(q, 3, 1, few, totals.on(q));
    weighted_total(q, 1, 7, many, totals.on(q) + 1);  // more terms than one launch handles
    weighted_total(q, 2, 5, std::vector<ScalarTerm>(), totals.on(q) + 2);
    mean_variance(q, 0.5, 10, x, variances.on(q));
    mean_variance(q, 0.5, 10, x + 1, variances.on(q) + 1);
    mean_variance(q, 0.5, 10, x + 4, variances.on(q) + 2);
    match_factors(q, 2, x, x + 2, factors.on(q), factors.on(q) + 1);
    match_factors(q, 2, x, x + 3, factors.on(q) + 2, factors.on(q) + 3);
    match_factors(q, 2, x, x + 4, factors.on(q) + 4, factors.on(q) + 5);
    clip_factor(q, 2, 1, x + 2, clips.on(q));
    clip_factor(q, 2, 100, x + 2, clips.on(q) + 1);
  });
  for (const auto& values : {totals.on_cpu(), totals.on_cuda()})
    CHECK(values == std::vector<double>{3 * (1 + 0.5 * 2 * 50 - 6), 7 + 2500 * 0.5, 10});
  for (const auto& values : {variances.on_cpu(), variances.on_cuda()}) {
    CHECK(values[0] == 0.1f);
    CHECK(values[1] == 0);
    CHECK(std::isnan(values[2]));
  }
  for (const auto& values : {factors.on_cpu(), factors.on_cuda()}) {
    CHECK(values[0] == Approx(4 * 2.0 / 50));
    CHECK(values[1] == Approx(2 * std::sqrt(2.0 / 50)));
    CHECK(values[2] == 0);
    CHECK(values[3] == 0);
    CHECK((std::isnan(values[4]) && std::isnan(values[5])));
  }
  for (const auto& values : {clips.on_cpu(), clips.on_cuda()}) {
    CHECK(values[0] == Approx(2 / std::sqrt(50.0)));
    CHECK(values[1] == 1);
  }
}

TEST_CASE("a closed step counts towards epoch and window, and the first loss that is not finite halts") {
  BothQueues both;
  Mirrored<TrainingSums> sums({TrainingSums{}});
  Mirrored<LossSums> step(
      {LossSums{.loss = 3, .correct = 2, .samples = 8}, LossSums{.loss = NAN, .samples = 8, .nonfinite = 5}});
  Mirrored<StepValues> values({StepValues{}});
  both.run([&](Queue& q) {
    set_step_values(q, StepValues{.step = 41, .epoch = 2, .first_sample = 16, .learning_rate = 0.5f}, values.on(q));
    TrainingSums* const to = sums.on(q);
    const auto close = [&](int which) {
      copy(q, sizeof(LossSums), step.on(q) + which, &to->step);
      close_step(q, StepNumber(0, &values.on(q)->step), to);
    };
    close(0);
    restart_sums(q, true, false, to);
    close(0);
    close(1);
    set_step_values(q, StepValues{.step = 42, .epoch = 2, .first_sample = 16, .learning_rate = 0.5f}, values.on(q));
    close(1);
  });
  for (const TrainingSums& read : {sums.on_cpu()[0], sums.on_cuda()[0]}) {
    CHECK(read.epoch.samples == 32);
    CHECK(read.window.samples == 24);
    CHECK(read.window.correct == 2);
    CHECK(read.step.samples == 0);
    CHECK(read.halted == 1);
    CHECK(read.halted_step == 41);
    CHECK(read.halted_sums.nonfinite == 5);
  }
  CHECK(values.on_cuda()[0].first_sample == 16);
  CHECK(values.on_cuda()[0].learning_rate == 0.5f);
}

TEST_CASE("AdamW agrees on both devices, with numbers in memory and halted too") {
  BothQueues both;
  const std::vector<int64_t> sizes = {1025, 0, 5000};
  const bool after = GENERATE(false, true);
  constexpr int64_t n = 7000;
  Mirrored<float> value(random_tensor(n, 1)), first(random_tensor(n, 2)), second(random_tensor(n, 3, 2)),
      gradient(random_tensor(n, 4)), moment(random_tensor(n, 5, 1)), given(random_tensor(n, 6));
  Mirrored<StepNorms> all_norms({StepNorms{}});
  Mirrored<double> clip({0.25});
  Mirrored<float> rate({0.2f});
  Mirrored<uint32_t> steps({12, 0, 1});
  both.run([&](Queue& q) {
    AdamWHyperparameters h{.learning_rate = {0, rate.on(q)},
                           .beta2 = 0.99f,
                           .epsilon = 1e-3f,
                           .weight_decay = 0.01f,
                           .inverse_batch = 0.25f,
                           .gradient_factor = {0, clip.on(q)},
                           .halted = {1, steps.on(q) + 1},
                           .noise_after_momentum = after,
                           .seed = 99,
                           .step = {0, steps.on(q)}};
    std::vector<AdamWSegment> segments;
    int64_t begin = 0;  // one element between tensors: addresses that no float4 can take
    for (size_t i = 0; i < sizes.size(); ++i) {
      segments.push_back({.n = sizes[i],
                          .value = value.on(q) + begin,
                          .first = first.on(q) + begin,
                          .second = second.on(q) + begin,
                          .gradient_sum = gradient.on(q) + begin,
                          .noise = {.variance = {0.1f, 0.2f, 0.3f},
                                    .second_moment = moment.on(q) + begin,
                                    .vector = i == 0 ? given.on(q) : nullptr},
                          .tensor = static_cast<uint32_t>(i)});
      begin += sizes[i] + 1;
    }
    adamw_step(q, segments, h, all_norms.on(q));
    adamw_step(q, segments, h, nullptr);
    h.halted = {0, steps.on(q) + 2};
    adamw_step(q, segments, h, all_norms.on(q));
  });
  const StepNorms norms[] = {all_norms.on_cpu()[0], all_norms.on_cuda()[0]};
  CHECK(value.difference({.terms = 16}) == "");
  CHECK(first.difference({.terms = 16}) == "");
  CHECK(second.difference({.terms = 16}) == "");
  CHECK(norms[0].noise_squared > 0);
  CHECK(std::abs(norms[1].gradient_squared - norms[0].gradient_squared) <= 1e-6 * norms[0].gradient_squared);
  CHECK(std::abs(norms[1].noise_squared - norms[0].noise_squared) <= 1e-6 * norms[0].noise_squared);
}
