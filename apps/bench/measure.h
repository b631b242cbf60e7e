// Times of several cases measured in turns: every round runs each case once, forwards and backwards alternately, so
// that whatever else the machine does falls on all of them alike. Compare cases by ratio(), the median over rounds.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <noisysgd/core/json.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

struct Case {
  std::string name;
  std::function<void()> run;
  std::function<void()> warm_up = {};  // a shorter call that leaves it warm; none: run
};

// Seconds per call of one case, one sample per round.
class Samples {
 public:
  explicit Samples(std::vector<double> seconds = {}) : seconds_(std::move(seconds)) {}
  double median() const { return percentile(50); }
  double percentile(double p) const;  // linear between neighbours
  double ratio(const Samples& base) const;
  std::string spread() const;  // "p5 – p95" in milliseconds
  Json json() const;           // {"median", "p5", "p95"} in seconds
  void add(double seconds) { seconds_.push_back(seconds); }

 private:
  std::vector<double> seconds_;
};

// One warm-up each, then `rounds` rounds. A sample of a short case is the mean of several calls, at least
// `least_seconds` together. Time is that of the queue's device: of the processor's clock, or between two CUDA events.
std::vector<Samples> measure(kernels::Queue& queue, const std::vector<Case>& cases, int rounds,
                             double least_seconds = 0.01);

std::string milliseconds(double seconds);

// [elements] ~ N(0,1); another stream, another tensor.
Tensor random_tensor(Context& context, int64_t elements, uint32_t stream);

}  // namespace noisysgd::bench
