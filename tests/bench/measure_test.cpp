// Statistics of given times, and the order of calls. Nothing here is timed.
#include <noisysgd/bench/measure.h>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::bench;
using namespace noisysgd::test;

TEST_CASE("percentiles are interpolated linearly between sorted samples") {
  const Samples samples({4, 1, 3, 2, 5});
  CHECK(samples.median() == 3);
  CHECK(samples.percentile(0) == 1);
  CHECK(samples.percentile(100) == 5);
  CHECK(samples.percentile(5) == Approx(1.2));
  CHECK(samples.percentile(95) == Approx(4.8));
  CHECK(Samples({2, 1}).median() == 1.5);
  CHECK(Samples({7}).percentile(95) == 7);
  CHECK(error_of([] { return Samples().median(); }) == "benchmark: no samples to take a percentile of");
}

TEST_CASE("a ratio is the median over the rounds, not the ratio of the medians") {
  const Samples slow({2, 40, 9}), base({1, 10, 9});
  CHECK(slow.ratio(base) == 2);
  CHECK(slow.median() / base.median() == 1);
}

TEST_CASE("times are shown in milliseconds and stored in seconds") {
  const Samples samples({0.001, 0.002, 0.003});
  CHECK(samples.spread() == "1.10 – 2.90");
  CHECK(milliseconds(0.0123) == "12.3");
  CHECK(samples.json()["median"] == 0.002);
  CHECK(samples.json()["p5"].get<double>() == Approx(0.0011));
  CHECK(samples.json()["p95"].get<double>() == Approx(0.0029));
}

TEST_CASE("calls take turns, forward and backward") {
  kernels::Queue queue({}, 1);
  std::string made;
  const std::vector<Call> calls{{"a", [&] { made += 'a'; }, [&] { made += 'w'; }}, {"b", [&] { made += 'b'; }}};
  const auto samples = measure(queue, calls, 3, 0);  // no least time: one call per sample
  CHECK(samples.size() == 2);
  CHECK(made == "wbabbaab");
}
