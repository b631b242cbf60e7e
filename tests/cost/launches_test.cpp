// The number of kernels of one training step of ResNet44. At small batches a step takes as long as its launches.
//
// The batch here has four images in two ghost batches. That launches the kernels of a batch of thousands: what a step
// launches depends on its layers and on the ops' routes, which are chosen by the sizes of images, channels and filters.
// The number of samples and ghost batches only changes how many blocks a launch has, with one exception: weight
// gradients of many shares of the samples need a second launch. From a batch of 128 on these are the 13 layers from 32 to
// 32 channels, and, with a second moment, those from 64 to 64 (cuda_merge_shares_test.cpp).
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/emulation/launches.h>

#include <numeric>

#include "tests/catch.h"
#include "tests/cost/resnet_step.h"
#include "tests/environment.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Of a replayed step, with the convolutions that a GPU computes by cuDNN computed by the emulated one. Weight
// gradients, which a GPU computes by the faster one, are computed by the kernels of this repository; cuDNN's take a
// launch less.
std::map<std::string, int64_t> launches_of_step(const Json& noise, SecondMoment conv,
                                                kernels::Precision precision = kernels::Precision::tf32) {
  const TemporaryFolder plans;
  const test::Variable cudnn("NSGD_CUDNN", "on"), cache("NSGD_CACHE", plans.path()), graph("NSGD_GRAPH", "1");
  const emulation::DifferentDevice slow_cudnn({.cudnn_seconds = 100});
  Context context({Backend::cuda}, 1);
  context.queue.set_precision(precision);
  ResnetSteps steps(context, 44, 4, noise, conv);
  steps.run();  // chooses cuDNN's plans and sizes the arena
  emulation::reset_launches();
  steps.run();  // recorded and launched
  CHECK(steps.counts().recorded == 1);
  return emulation::launches();
}

void check_at_most(int64_t bar, const std::map<std::string, int64_t>& launches) {
  int64_t total = 0;
  for (const auto& [name, count] : launches) total += count;
  INFO(total << " kernels:\n" << emulation::list_of(launches));
  CHECK(total <= bar);
  CHECK(total > bar - 10);  // a bar that is far from the count does not notice an added launch
}

}  // namespace

TEST_CASE("a plain step of ResNet44 launches few kernels") {
  check_at_most(328, launches_of_step({{"type", "none"}}, SecondMoment::none));
}

TEST_CASE("a step of ResNet44 with the diagonal of the Fisher matrix launches few kernels") {
  check_at_most(332, launches_of_step({{"type", "diagonal_fisher"}, {"small_batch", 2}}, SecondMoment::exact));
}

TEST_CASE("a step of ResNet44 at half launches fewer kernels than one in tf32") {
  constexpr auto half = kernels::Precision::half;
  check_at_most(259, launches_of_step({{"type", "none"}}, SecondMoment::none, half));
  check_at_most(263, launches_of_step({{"type", "diagonal_fisher"}, {"small_batch", 2}}, SecondMoment::exact, half));
}
