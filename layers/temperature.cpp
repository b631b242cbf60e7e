#include <noisysgd/layers/temperature.h>

#include <cmath>
#include <limits>

#include <noisysgd/kernels/elementwise.h>

namespace noisysgd {

namespace {

constexpr double least = 1e-4, most = 1e4, precision = 1e-6;
constexpr int most_steps = 200;

struct Scores {
  Tensor logits, labels;
};

struct Derivatives {
  double first = 0, second = 0;  // of the summed loss in beta
};

double dot(Context& context, const Tensor& a, const Tensor& b) {
  const std::vector<float> x = to_host<float>(context, a), y = to_host<float>(context, b);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += double{x[i]} * y[i];
  return sum;
}

Derivatives derivatives_at(double beta, Context& context, const Loss& loss, const std::vector<Scores>& all,
                           Targets targets) {
  Derivatives sums;
  for (const auto& [logits, labels] : all) {
    const Tensor scaled(context, logits.shape()), gradient(context, logits.shape()), change(context, logits.shape());
    kernels::scale(context.queue, logits.elements(), static_cast<float>(beta), logits.f32(), scaled.f32());
    loss.evaluate({context, scaled, labels, targets, {}, gradient});
    loss.curvature({context, scaled, labels, targets, logits, change});
    sums.first += dot(context, gradient, logits);
    sums.second += dot(context, change, logits);
  }
  return sums;
}

}  // namespace

double fit_inverse_temperature(Model& model, const AllBatches& batches, Targets targets) {
  std::vector<Scores> scores;
  batches([&](const Batch& batch) {
    if (batch.size() > 0) scores.push_back({model.logits(batch.images), batch.labels});
  });
  NSGD_CHECK(!scores.empty(), "temperature: there are no samples to fit it to");
  double beta = 1, low = 0, high = std::numeric_limits<double>::infinity();  // the minimum lies between
  for (int step = 0; step < most_steps; ++step) {
    const auto [first, second] = derivatives_at(beta, model.context(), model.loss(), scores, targets);
    NSGD_CHECK(std::isfinite(first) && std::isfinite(second),
               "temperature: the loss at {} times the scores is not finite", beta);
    const double newton = beta - first / second;
    if (second > 0 && std::abs(newton - beta) <= precision * beta) return newton;
    (first > 0 ? high : low) = beta;
    const bool inside = second > 0 && newton > low && newton < high;
    beta = inside ? newton : std::isinf(high) ? 2 * beta : (low + high) / 2;
    NSGD_CHECK(beta <= most,
               "temperature: the loss falls as long as the scores grow, because they order the labels of all samples "
               "right; fit it to other samples");
    NSGD_CHECK(beta >= least,
               "temperature: the loss falls as long as the scores shrink: they say nothing of the labels");
  }
  throw Error("temperature: Newton's method found no minimum of the loss; it may not be convex in the scores");
}

}  // namespace noisysgd
