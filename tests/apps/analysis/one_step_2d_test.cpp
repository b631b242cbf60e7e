// Figure 1: covariances of updates against enumeration of all batches and against draws.
#include <noisysgd/apps/analysis/one_step_2d.h>

#include <cmath>
#include <vector>

#include "tests/catch.h"

using namespace noisysgd;

namespace {

using Point = std::array<double, 2>;

Regression2d small_problem() {
  return {{{1, 0.8}, {-0.5, -0.2}, {2, 1.5}, {0.3, 0.6}, {-1.2, -1.4}, {0.7, 0.1}}, {1.3, -0.2, 2.0, -0.4, -1.9, 0.8}};
}

Covariance2d population_covariance(const std::vector<Point>& points, double divisor) {
  Point mean{};
  for (const Point& p : points)
    for (size_t i = 0; i < 2; ++i) mean[i] += p[i] / static_cast<double>(points.size());
  Covariance2d c;
  for (const auto& [x, y] : points) {
    c.xx += (x - mean[0]) * (x - mean[0]) / divisor;
    c.xy += (x - mean[0]) * (y - mean[1]) / divisor;
    c.yy += (y - mean[1]) * (y - mean[1]) / divisor;
  }
  return c;
}

void check_equal(const Covariance2d& a, const Covariance2d& b, double tolerance) {
  const double size = b.xx + b.yy;
  CHECK(a.xx == Approx(b.xx).margin(tolerance * size));
  CHECK(a.xy == Approx(b.xy).margin(tolerance * size));
  CHECK(a.yy == Approx(b.yy).margin(tolerance * size));
}

// theta after a step by every batch of two samples.
std::vector<Point> all_pairs(const Regression2d& problem, const OneStepOptions& options) {
  std::vector<Point> updates;
  for (size_t i = 0; i < problem.targets.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const Point a = problem.gradient(i, options.start), b = problem.gradient(j, options.start);
      updates.push_back(
          {options.start[0] - options.rate * (a[0] + b[0]) / 2, options.start[1] - options.rate * (a[1] + b[1]) / 2});
    }
  return updates;
}

}  // namespace

TEST_CASE("gradients of the regression are those of its loss") {
  const Regression2d problem = small_problem();
  const Point theta{0.4, -0.7}, gradient = problem.mean_gradient(theta);
  constexpr double h = 1e-5;
  CHECK(gradient[0] == Approx((problem.loss({0.4 + h, -0.7}) - problem.loss({0.4 - h, -0.7})) / (2 * h)));
  CHECK(gradient[1] == Approx((problem.loss({0.4, -0.7 + h}) - problem.loss({0.4, -0.7 - h})) / (2 * h)));
  const Point other = problem.mean_gradient({0.4 + h, -0.7});
  CHECK(problem.hessian().xx == Approx((other[0] - gradient[0]) / h));
  CHECK(problem.hessian().xy == Approx((other[1] - gradient[1]) / h));
}

TEST_CASE("the ellipse of SGD is that of all its batches, and full Fisher noise that is centred has the same") {
  const Regression2d problem = small_problem();
  OneStepOptions options{{0.4, -0.7}, 0.3, 2, 0.1, true};
  const std::vector<Point> updates = all_pairs(problem, options);
  const Covariance2d enumerated = population_covariance(updates, static_cast<double>(updates.size()));
  check_equal(update_covariance(problem, options, OneStepRegime::small_batch), enumerated, 1e-13);
  check_equal(update_covariance(problem, options, OneStepRegime::full_fisher), enumerated, 1e-13);

  // As the paper writes F, the square of the mean gradient comes in: F = (N-1)/N S^2 + g g'.
  options.centered = false;
  const Covariance2d full = update_covariance(problem, options, OneStepRegime::full_fisher);
  const Point g = problem.mean_gradient(options.start);
  const double strength = 0.3 * 0.3 * (6.0 - 2) / (6 * 2);
  check_equal({full.xx - strength * g[0] * g[0], full.xy - strength * g[0] * g[1], full.yy - strength * g[1] * g[1]},
              {enumerated.xx * 5 / 6, enumerated.xy * 5 / 6, enumerated.yy * 5 / 6}, 1e-13);
  const Covariance2d diagonal = update_covariance(problem, options, OneStepRegime::diagonal_fisher);
  check_equal(diagonal, {full.xx, 0, full.yy}, 1e-13);
  check_equal(update_covariance(problem, options, OneStepRegime::isotropic), {0.0009, 0, 0.0009}, 1e-13);
}

TEST_CASE("drawn updates have the mean of the full-batch step and the covariance of their formula") {
  const Regression2d problem = small_problem();
  const OneStepOptions options{{0.4, -0.7}, 0.3, 2, 0.1, false};
  const Point g = problem.mean_gradient(options.start);
  for (const OneStepRegime regime : {OneStepRegime::small_batch, OneStepRegime::isotropic, OneStepRegime::full_fisher,
                                     OneStepRegime::diagonal_fisher}) {
    constexpr int64_t draws = 40'000;
    const std::vector<Point> updates = draw_updates(problem, options, regime, draws, 3);
    REQUIRE(updates.size() == draws);
    Point mean{};
    for (const Point& p : updates)
      for (size_t i = 0; i < 2; ++i) mean[i] += p[i] / draws;
    const Covariance2d exact = update_covariance(problem, options, regime);
    // Standard errors are about 1/sqrt(draws) = 0.005 of the deviation and 0.007 of the variance.
    CHECK(mean[0] == Approx(0.4 - 0.3 * g[0]).margin(0.025 * std::sqrt(exact.xx)));
    CHECK(mean[1] == Approx(-0.7 - 0.3 * g[1]).margin(0.025 * std::sqrt(exact.yy)));
    check_equal(population_covariance(updates, draws - 1), exact, 0.03);
  }
}

TEST_CASE("an ellipse goes through the points that are so many deviations away") {
  const Covariance2d c{2, 0.7, 0.5};
  const Series curve = ellipse("name", {1, -1}, c, 2);
  const double determinant = c.xx * c.yy - c.xy * c.xy;
  REQUIRE(curve.x.size() > 30);
  double widest = 0;
  for (size_t i = 0; i < curve.x.size(); ++i) {
    const double x = curve.x[i] - 1, y = curve.y[i] + 1;
    CHECK((c.yy * x * x - 2 * c.xy * x * y + c.xx * y * y) / determinant == Approx(4));
    widest = std::max(widest, x);
  }
  CHECK(widest == Approx(2 * std::sqrt(2)).epsilon(0.01));
  CHECK(curve.style == SeriesStyle::closed);
}
