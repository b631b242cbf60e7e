#include <noisysgd/bench/measure.h>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include <noisysgd/kernels/cuda/event_timer.h>
#include <noisysgd/kernels/random.h>

namespace noisysgd::bench {

namespace {

double percentile_of(std::vector<double> values, double p) {
  NSGD_CHECK(!values.empty(), "benchmark: no samples to take a percentile of");
  std::sort(values.begin(), values.end());
  const double place = p / 100 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

double seconds_of(kernels::Queue& queue, const std::function<void()>& run, int calls) {
  if (queue.device().backend == Backend::cuda) {
    kernels::cuda::EventTimer timer(queue);
    queue.synchronize();
    timer.start();
    for (int i = 0; i < calls; ++i) run();
    return timer.stop() / calls;
  }
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
}

}  // namespace

Tensor random_tensor(Context& context, int64_t elements, uint32_t stream) {
  Tensor tensor(context, {elements});
  kernels::random_normal(context.queue, elements, 0, 1, RandomStream{.tensor = stream}, tensor.f32());
  return tensor;
}

double Samples::percentile(double p) const { return percentile_of(seconds_, p); }

double Samples::ratio(const Samples& base) const {
  std::vector<double> ratios;
  for (size_t round = 0; round < seconds_.size(); ++round) ratios.push_back(seconds_[round] / base.seconds_[round]);
  return percentile_of(std::move(ratios), 50);
}

std::string Samples::spread() const {
  return fmt::format("{} – {}", milliseconds(percentile(5)), milliseconds(percentile(95)));
}

Json Samples::json() const { return {{"median", median()}, {"p5", percentile(5)}, {"p95", percentile(95)}}; }

std::string milliseconds(double seconds) {
  const double value = seconds * 1e3;
  return value < 10 ? fmt::format("{:.2f}", value) : fmt::format("{:.1f}", value);
}

std::vector<Samples> measure(kernels::Queue& queue, const std::vector<Call>& calls, int rounds, double least_seconds) {
  std::vector<int> repeats;
  for (const Call& one : calls) {
    double seconds = seconds_of(queue, one.warm_up ? one.warm_up : one.run, 1);
    // A call that takes this long cold is not timed again: it is made once per sample anyway.
    if (seconds < 10 * least_seconds) seconds = seconds_of(queue, one.run, 1);
    repeats.push_back(std::clamp(static_cast<int>(std::ceil(least_seconds / std::max(seconds, 1e-9))), 1, 10000));
  }
  std::vector<Samples> samples(calls.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < calls.size(); ++i) {
      const size_t turn = round % 2 == 0 ? i : calls.size() - 1 - i;
      samples[turn].add(seconds_of(queue, calls[turn].run, repeats[turn]));
    }
  }
  return samples;
}

}  // namespace noisysgd::bench
