// NaN is propagated on the CUDA device wherever it is on the CPU, which has its own tests: clamps, comparisons and
// maxima must not remove it. Also losses that are almost 0 or almost infinite.
#include <cmath>
#include <limits>

#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/fisher_average.h>
#include <noisysgd/kernels/pool.h>
#include <noisysgd/kernels/sgd_step.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>
#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

constexpr int64_t n = 40;

// Random numbers, every `every`-th from the third on NaN.
std::vector<float> with_nan(uint32_t tensor, int every) {
  std::vector<float> values = random_tensor(n, tensor);
  for (size_t i = 3; i < values.size(); i += every) values[i] = std::numeric_limits<float>::quiet_NaN();
  return values;
}

}  // namespace

TEST_CASE("NaN goes through ReLU, batch norm's own, the Fisher's average and max pooling on the CUDA device") {
  BothQueues both;
  Floats x(with_nan(1, 5)), relu(nan_tensor(n)), grad(random_tensor(n, 2)), relu_grad(nan_tensor(n)),
      average(random_tensor(n, 3)), gradient(random_tensor(n, 4)), pooled(random_tensor(n / 4, 5)),
      channels(random_tensor(4 * n, 6, 1)), normalised(random_tensor(n, 7)), pooled_vectors(random_tensor(8, 8));
  Mirrored<uint8_t> index(std::vector<uint8_t>(n / 4, 0xff)), index_of_vectors(std::vector<uint8_t>(8, 0xff));
  const PoolShape windows{1, 4, 10, 1, 2, 2, 0}, vector_windows{1, 2, 5, 4, 2, 2, 0};
  both.run([&](Queue& q) {
    relu_forward(q, n, x.on(q), relu.on(q));
    relu_backward(q, n, x.on(q), grad.on(q), relu_grad.on(q));
    fisher_average(q, n, 0.3f, -0.2f, 0.6f, x.on(q), gradient.on(q), average.on(q));
    max_pool_forward(q, windows, x.on(q), pooled.on(q), index.on(q));
    max_pool_forward(q, vector_windows, x.on(q), pooled_vectors.on(q), index_of_vectors.on(q));
    const float* const c = channels.on(q);
    batch_norm_inference(q,
                         {.rows = 1,
                          .channels = n,
                          .epsilon = 1e-3f,
                          .gamma = c,
                          .beta = c + n,
                          .running_mean = c + 2 * n,
                          .running_variance = c + 3 * n,
                          .epilogue = BatchNormEpilogue{.relu = true}},
                         x.on(q), normalised.on(q));
  });
  // difference() wants NaN in the same places.
  CHECK(relu.difference() == "");
  CHECK(relu_grad.same_bits());
  CHECK(average.difference() == "");
  CHECK(pooled.difference() == "");
  CHECK(normalised.difference({.terms = 4}) == "");
  CHECK(index.same_bits());
  CHECK(pooled_vectors.difference() == "");
  CHECK(index_of_vectors.same_bits());
}

TEST_CASE("the noise of a second moment that is NaN is NaN on the CUDA device") {
  BothQueues both;
  Floats value(random_tensor(n, 1)), gradient(random_tensor(n, 2)), moment(with_nan(3, 7));
  both.run([&](Queue& q) {
    const std::vector<SgdSegment> segments{
        {.n = n,
         .value = value.on(q),
         .gradient_sum = gradient.on(q),
         .noise = {.variance = {.second_moment = 0.5f, .gradient_sum = -0.1f}, .second_moment = moment.on(q)}}};
    sgd_step(q, segments, SgdHyperparameters{.learning_rate = 0.5f, .inverse_batch = 1, .seed = 3}, nullptr);
  });
  CHECK(value.difference({.terms = 16}) == "");
}

TEST_CASE("extreme logits give the same loss and gradient on both devices") {
  BothQueues both;
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> rows = {40,     0,     0,   // label 0 almost certain
                                   1e4f,   -1e4f, 0,   // certain
                                   -1e4f,  1e4f,  0,   // impossible
                                   -3e38f, 3e38f, 0,   // label 1 certain
                                   nan,    0,     0,   // label 2
                                   0,      nan,   0,   // label 0
                                   0,      -inf,  0};  // label 2: one half
  Floats logits(rows), gradient(nan_tensor(21)), losses(nan_tensor(7));
  Mirrored<int32_t> labels(std::vector<int32_t>{0, 0, 0, 1, 2, 0, 2});
  Mirrored<LossSums> all_sums({LossSums{}});
  both.run([&](Queue& q) {
    softmax_cross_entropy(q, {7, 3, labels.on(q)}, 0, logits.on(q), gradient.on(q), losses.on(q), all_sums.on(q));
  });
  const LossSums sums[] = {all_sums.on_cpu()[0], all_sums.on_cuda()[0]};
  // Each to a few units in its last place, even if small: that of a label that is almost certain is -2 e^-40.
  CHECK(gradient.on_cpu()[0] == Approx(-2 * std::exp(-40.0)).epsilon(1e-5));
  const auto same = [](const std::vector<float>& actual, const std::vector<float>& expected) {
    for (size_t i = 0; i < actual.size(); ++i) {
      CAPTURE(i, actual[i], expected[i]);
      CHECK(std::isnan(actual[i]) == std::isnan(expected[i]));
      if (!std::isnan(expected[i])) CHECK(std::abs(actual[i] - expected[i]) <= 1e-6f * std::abs(expected[i]));
    }
  };
  same(gradient.on_cuda(), gradient.on_cpu());
  same(losses.on_cuda(), losses.on_cpu());
  CHECK(sums[1].correct == sums[0].correct);
  CHECK((std::isnan(sums[0].loss) && std::isnan(sums[1].loss)));
}
