// Measures the times of several calls in turns. Every round makes each call once, alternately in forward and in reverse
// order, so other load on the machine affects all alike. Compare calls by ratio(), the median over rounds.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <noisysgd/core/json.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

struct Call {
  std::string name;
  std::function<void()> run;
  std::function<void()> warm_up = {};  // a shorter one for the warm-up; none: run
};

// Seconds per call, one sample per round.
class Samples {
 public:
  explicit Samples(std::vector<double> seconds = {}) : seconds_(std::move(seconds)) {}
  double median() const { return percentile(50); }
  double percentile(double p) const;  // interpolated linearly
  double ratio(const Samples& base) const;
  std::string spread() const;  // "p5 – p95" in milliseconds
  Json json() const;           // {"median", "p5", "p95"} in seconds
  void add(double seconds) { seconds_.push_back(seconds); }

 private:
  std::vector<double> seconds_;
};

// Warms up each call once, then runs `rounds` rounds. A sample of a short call is the mean of several, which take at
// least `least_seconds` together. Times are those of the queue's device: by the processor's clock, or between two
// CUDA events.
std::vector<Samples> measure(kernels::Queue& queue, const std::vector<Call>& calls, int rounds,
                             double least_seconds = 0.01);

std::string milliseconds(double seconds);

// [elements] ~ N(0,1). Each stream gives another tensor.
Tensor random_tensor(Context& context, int64_t elements, uint32_t stream);

}  // namespace noisysgd::bench
