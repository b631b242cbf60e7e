#include <noisysgd/optim/batch_schedule.h>

#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/optim/learning_rate_scaling.h>
#include <noisysgd/optim/schedule.h>
#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("one batch size: steps and epochs by hand, the incomplete last batch kept or dropped") {
  // CIFAR-10 at 4096: 12 whole batches and one of 848.
  const BatchSchedule kept({{200, 4096, 0.1}}, 50000, false), dropped({{200, 4096, 0.1}}, 50000, true);
  CHECK(kept.total_steps() == 2600);
  CHECK(dropped.total_steps() == 2400);
  const BatchPosition last = kept.position(12);
  CHECK(last.epoch == 0);
  CHECK(last.step_of_epoch == 12);
  CHECK(last.first_sample() == 49152);
  CHECK(kept.position(13).epoch == 1);
  CHECK(kept.position(13).first_of_epoch());
  CHECK(dropped.position(12).epoch == 1);
  CHECK(kept.position(2600).epoch == 200);
  CHECK(kept.position(2600).first_of_epoch());
}

TEST_CASE("a batch change: the first epochs in small batches at their own rate, then large ones") {
  // 10 images: three epochs of batches of 4 (3 steps each), two of batches of 8 (2 steps each).
  const BatchSchedule schedule({{3, 4, 0.5}, {2, 8, 2.0}}, 10, false);
  CHECK(schedule.total_steps() == 13);
  const int64_t epochs[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5};
  const int64_t of_epoch[] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0};
  for (int64_t step = 0; step <= 13; ++step) {
    INFO(step);
    const BatchPosition at = schedule.position(step);
    CHECK(at.epoch == epochs[step]);
    CHECK(at.step_of_epoch == of_epoch[step]);
    CHECK(at.steps_per_epoch == (step < 9 ? 3 : 2));
    CHECK(at.phase->size == (step < 9 ? 4 : 8));
    CHECK(at.phase->learning_rate == (step < 9 ? 0.5 : 2.0));
    CHECK(at.first_sample() == of_epoch[step] * (step < 9 ? 4 : 8));
  }
}

TEST_CASE("the steps of the first epochs, across a batch change") {
  // Three epochs of 3 steps, two of 2.
  const BatchSchedule schedule({{3, 4, 1}, {2, 8, 1}}, 10, false);
  const std::pair<double, int64_t> expected[] = {{0, 0},    {1, 3},  {1.25, 4}, {3, 9},
                                                 {3.5, 10}, {4, 11}, {5, 13},   {9, 13}};
  for (const auto& [epochs, steps] : expected) {
    INFO(epochs << " epochs");
    CHECK(schedule.steps_of_first(epochs) == steps);
  }
}

TEST_CASE("half a step of a fraction of the run is rounded up, whatever the fraction's last bits are") {
  // 5 steps in an epoch: half of an odd number of epochs ends within a step.
  for (int64_t epochs = 1; epochs <= 40; ++epochs)
    for (int64_t longer = epochs; longer <= 80; ++longer) {
      const BatchSchedule before({{epochs, 2, 1}}, 10, false), after({{longer, 2, 1}}, 10, false);
      const auto n = static_cast<double>(epochs), m = static_cast<double>(longer);
      for (const double fraction : {0.1, 0.25, 0.3, 0.5, 0.7, 0.9}) {
        CAPTURE(epochs, longer, fraction);
        CHECK(before.steps_of_first(fraction * n) == after.steps_of_first(fraction * n / m * m));
      }
    }
}

TEST_CASE("an incomplete last batch that is too small to train on is left out") {
  CHECK(BatchSchedule({{2, 4, 1}}, 9, false, SampleCoupling::whole_batch(2)).total_steps() == 4);
  CHECK(BatchSchedule({{2, 4, 1}}, 10, false, SampleCoupling::whole_batch(2)).total_steps() == 6);
  CHECK(BatchSchedule({{2, 4, 1}}, 9, false).total_steps() == 6);
  CHECK_THROWS_WITH(BatchSchedule({{2, 4, 1}}, 1, false, SampleCoupling::whole_batch(2)),
                    "batch.size: 1 training images make no batch of 4");
}

TEST_CASE("the samples that the steps of an epoch train on and leave out are known before the run") {
  struct {
    int64_t size, images;
    bool drop_last;
    SampleCoupling coupling;
    std::vector<int64_t> samples;
    std::string text;
  } const cases[] = {
      {70,
       100,
       false,
       SampleCoupling::ghosts(20, 1),
       {60, 20},
       "each epoch leaves out 20 of 100 training images: batches of 70 are cut to 60 for whole ghost batches, the last "
       "30 are cut to 20 for whole ghost batches"},
      {70,
       100,
       true,
       SampleCoupling::ghosts(20, 1),
       {60},
       "each epoch leaves out 40 of 100 training images: batches of 70 are cut to 60 for whole ghost batches, the last "
       "30 are no whole batch (batch.drop_last)"},
      {4096,
       50000,
       false,
       SampleCoupling::ghosts(128, 1),
       {},
       "each epoch leaves out 80 of 50000 training images: the last 848 are cut to 768 for whole ghost batches"},
      {4,
       9,
       false,
       SampleCoupling::whole_batch(2),
       {4, 4},
       "each epoch leaves out 1 of 9 training images: the last 1 are too few to be normalised"},
      {4096,
       100,
       false,
       SampleCoupling::ghosts(32, 1),
       {96},
       "each epoch leaves out 4 of 100 training images: the last 100 are cut to 96 for whole ghost batches"},
      {70,
       50,
       false,
       SampleCoupling::ghosts(20, 1),
       {40},
       "each epoch leaves out 10 of 50 training images: the last 50 are cut to 40 for whole ghost batches"},
      {70, 100, false, {}, {70, 30}, ""},
      {20, 100, false, SampleCoupling::ghosts(20, 1), {20, 20, 20, 20, 20}, ""},
  };
  for (const auto& [size, images, drop_last, coupling, samples, text] : cases) {
    INFO(size << " of " << images);
    const BatchSchedule schedule({{2, size, 1}}, images, drop_last, coupling);
    for (size_t i = 0; i < 2 * samples.size(); ++i)
      CHECK(schedule.position(static_cast<int64_t>(i)).samples == samples[i % samples.size()]);
    const std::vector<std::string> lines = schedule.left_out();
    CHECK((lines.empty() ? "" : lines.front()) == text);
  }
  const BatchSchedule changing({{2, 70, 1}, {3, 50, 1}}, 100, true);
  CHECK(changing.left_out() ==
        std::vector<std::string>{"from epoch 1: each epoch leaves out 30 of 100 training images: "
                                 "the last 30 are no whole batch (batch.drop_last)"});
  CHECK(BatchSchedule({{2, 50, 1}, {3, 70, 1}}, 100, true).left_out().at(0).starts_with("from epoch 3: "));
  CHECK_THROWS_WITH(BatchSchedule({{1, 1, 1}}, 9, false, SampleCoupling::whole_batch(2)),
                    "batch.size: batch_norm has one value per channel in batches of 1; use larger ones");
}

TEST_CASE("milestones in epochs hold across a batch change") {
  const BatchSchedule schedule({{3, 4, 1}, {2, 8, 1}}, 10, false);
  const Config config(parse_json(R"({"type": "step", "milestones": [1, 4]})", "test"));
  const auto rate = LearningRateSchedule::read(config.root(), ScheduleRegistry::builtin(), 5);
  const double expected[] = {1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01};
  for (int64_t step = 0; step < 13; ++step) {
    INFO(step);
    const BatchPosition at = schedule.position(step);
    CHECK(rate.factor(at.equivalent_step(), at.steps_per_epoch, 5) == Approx(expected[step]));
  }
}

TEST_CASE("a phase without a whole batch is refused where incomplete ones are dropped") {
  CHECK_THROWS_WITH(BatchSchedule({{1, 8, 1}, {1, 16, 1}}, 10, true),
                    "batch.drop_last: 10 training images make no batch of 16");
  CHECK_NOTHROW(BatchSchedule({{1, 8, 1}, {1, 16, 1}}, 10, false));
}

TEST_CASE("learning-rate scaling: none, linear, square root against a base batch") {
  const auto read = [](const char* json) {
    Config config(parse_json(json, "test"), "test");
    const LearningRateScaling scaling = read_learning_rate_scaling(config.root());
    config.finish();
    return scaling;
  };
  CHECK(read("{}").factor(4096) == 1);
  CHECK(read(R"({"type": "linear"})").factor(4096) == 32);
  CHECK(read(R"({"type": "linear", "base_batch": 256})").factor(64) == 0.25);
  CHECK(read(R"({"type": "square_root"})").factor(512) == 2);
  CHECK(read(R"({"type": "square_root", "base_batch": 512})").factor(512) == 1);
  CHECK_THROWS_AS(read(R"({"type": "cubic"})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"base_batch": 64})"), ConfigError);  // means nothing without a rule
}

TEST_CASE("a run of more steps than can be numbered is refused") {
  CHECK(BatchSchedule({{2147483647, 100, 0.1}}, 100, false).total_steps() == 2147483647);
  CHECK_THROWS_WITH(BatchSchedule({{2147483647, 50, 0.1}}, 100, false),
                    "epochs: 2147483647 of 2 steps each make more than 2147483647 steps");
  CHECK_THROWS_AS(BatchSchedule({{2147483647, 100, 0.1}, {1, 100, 0.1}}, 100, false), Error);
}
