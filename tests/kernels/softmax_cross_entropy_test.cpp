#include <noisysgd/kernels/softmax_cross_entropy.h>

#include <cmath>
#include <numeric>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("loss, per-sample losses and accuracy against the formula") {
  Queue queue({}, 2);
  for (const int64_t samples : {0, 1, 31, 33, 1025})
    for (const int64_t classes : {1, 2, 10, 32, 100})
      for (const float smoothing : {0.0f, 0.1f})
        for (const float offset : {0.0f, 100.0f}) {
          CAPTURE(samples, classes, smoothing, offset);
          const std::vector<float> logits = random_tensor(samples * classes, 1, offset, 5.0f),
                                   weights = random_tensor(samples, 2, 0.5f);
          const std::vector<int32_t> labels = random_integers(samples, 3, static_cast<uint32_t>(classes));
          const std::vector<double> losses =
              reference::cross_entropy(samples, classes, to_double(logits), labels, smoothing);
          int64_t correct = 0;
          double weighted = 0;
          for (int64_t n = 0; n < samples; ++n) {
            bool is_first_maximum = true;
            for (int64_t k = 0; k < classes; ++k) {
              const float other = logits[n * classes + k], own = logits[n * classes + labels[n]];
              is_first_maximum = is_first_maximum && (k < labels[n] ? other < own : other <= own);
            }
            correct += is_first_maximum;
            weighted += weights[n] * losses[n];
          }
          std::vector<float> sample_losses = nan_tensor(samples);
          LossSums sums{1.5, -2.5, 3, 4};
          softmax_cross_entropy(queue, {samples, classes, labels.data(), weights.data()}, smoothing, logits.data(),
                                nullptr, sample_losses.data(), &sums);
          // exp in fp32 of fp32 differences: relative error of the sum a few eps, of the loss up to that over the loss
          if (classes > 1)
            CHECK(compare(sample_losses, losses, {.terms = static_cast<double>(classes), .condition = 2}) == "");
          const double total = std::accumulate(losses.begin(), losses.end(), 0.0);
          const double margin = 1e-6 * (1.0 + static_cast<double>(samples));
          CHECK(sums.loss == Approx(1.5 + total).margin(margin));
          CHECK(sums.weighted_loss == Approx(-2.5 + weighted).margin(margin));
          CHECK(sums.correct == 3 + correct);
          CHECK(sums.samples == 4 + samples);
          CHECK(sums.nonfinite == 0);
        }
}

TEST_CASE("the gradient is that of the weighted sum of losses, by central differences; in place too") {
  Queue queue({}, 2);
  for (const int64_t samples : {1, 7})
    for (const int64_t classes : {2, 10, 33})
      for (const float smoothing : {0.0f, 0.2f})
        for (const bool weighted : {false, true}) {
          CAPTURE(samples, classes, smoothing, weighted);
          const std::vector<float> logits = random_tensor(samples * classes, 1, 0, 3.0f);
          const std::vector<float> weights =
              weighted ? random_tensor(samples, 2, 0, 6.0f) : std::vector<float>(samples, 1.0f);
          const std::vector<int32_t> labels = random_integers(samples, 3, static_cast<uint32_t>(classes));
          std::vector<float> gradient = nan_tensor(samples * classes), in_place = logits;
          LossSums sums;
          softmax_cross_entropy(queue, {samples, classes, labels.data(), weighted ? weights.data() : nullptr},
                                smoothing, logits.data(), gradient.data(), nullptr, &sums);
          softmax_cross_entropy(queue, {samples, classes, labels.data(), weighted ? weights.data() : nullptr},
                                smoothing, in_place.data(), in_place.data(), nullptr, &sums);
          const auto loss = [&](const std::vector<double>& z) {
            return dot(reference::cross_entropy(samples, classes, z, labels, smoothing), to_double(weights));
          };
          CHECK(compare(gradient, central_differences(loss, to_double(logits)),
                        {.terms = static_cast<double>(classes)}) == "");
          CHECK(in_place == gradient);
        }
}

TEST_CASE("huge logits neither overflow nor lose the loss; NaN is propagated; -inf is probability zero") {
  Queue queue({}, 1);
  const float inf = INFINITY;
  const std::vector<float> logits = {1e4f, -1e4f, 0, /**/ -3e38f, 3e38f, 0, /**/ NAN, 0, 0, /**/ 0, -inf, 0};
  const std::vector<int32_t> labels = {0, 1, 2, 2};
  std::vector<float> gradient = nan_tensor(12), losses = nan_tensor(4);
  LossSums sums;
  softmax_cross_entropy(queue, {4, 3, labels.data()}, 0.0f, logits.data(), gradient.data(), losses.data(), &sums);
  CHECK(losses[0] == 0);
  CHECK(losses[1] == 0);
  CHECK(std::isnan(losses[2]));
  CHECK(losses[3] == Approx(std::log(2.0)));
  CHECK(gradient[0] == 0);
  CHECK(gradient[9] == Approx(0.5));
  CHECK(gradient[10] == 0);
  CHECK(std::isnan(sums.loss));
  CHECK(sums.nonfinite == 1);
  const std::vector<float> wrong = {-1e4f, 1e4f};
  const std::vector<int32_t> label = {0};
  softmax_cross_entropy(queue, {1, 2, label.data()}, 0.0f, wrong.data(), gradient.data(), losses.data(), &sums);
  CHECK(losses[0] == Approx(2e4));
  CHECK(gradient[0] == -1);
  CHECK(gradient[1] == 1);
}

TEST_CASE("accuracy counts the first maximum") {
  Queue queue({}, 1);
  const std::vector<float> logits = {1, 1, 0, /**/ 1, 1, 0, /**/ 0, 0, 0};
  const std::vector<int32_t> labels = {0, 1, 0};
  LossSums sums;
  softmax_cross_entropy(queue, {3, 3, labels.data()}, 0.0f, logits.data(), nullptr, nullptr, &sums);
  CHECK(sums.correct == 2);
}

TEST_CASE("loss sums do not depend on the thread count") {
  Queue one({}, 1), three({}, 3);
  const int64_t samples = 4099, classes = 10;
  const std::vector<float> logits = random_tensor(samples * classes, 1, 0, 4.0f);
  const std::vector<int32_t> labels = random_integers(samples, 2, 10);
  std::vector<float> gradient[2] = {nan_tensor(samples * classes), nan_tensor(samples * classes)};
  LossSums sums[2];
  softmax_cross_entropy(one, {samples, classes, labels.data()}, 0.1f, logits.data(), gradient[0].data(), nullptr,
                        &sums[0]);
  softmax_cross_entropy(three, {samples, classes, labels.data()}, 0.1f, logits.data(), gradient[1].data(), nullptr,
                        &sums[1]);
  CHECK(sums[0].loss == sums[1].loss);
  CHECK(sums[0].weighted_loss == sums[0].loss);
  CHECK(gradient[0] == gradient[1]);
}

TEST_CASE("a label outside the classes is named") {
  Queue queue({}, 1);
  const std::vector<float> logits(6);
  LossSums sums;
  for (const int32_t wrong : {-1, 3}) {
    const std::vector<int32_t> labels = {0, wrong};
    CHECK_THROWS_WITH(softmax_cross_entropy(queue, {2, 3, labels.data()}, 0.0f, logits.data(), nullptr, nullptr, &sums),
                      Catch::Matchers::Contains("sample 1") && Catch::Matchers::Contains(std::to_string(wrong)));
  }
  CHECK(sums.loss == 0);
}

TEST_CASE("sampled labels are the inverse of the cumulative distribution at one uniform each") {
  Queue one({}, 1), three({}, 3);
  const RandomStream stream{9, 1, 2, RandomPurpose::fisher_labels};
  const int64_t samples = 3000, classes = 7;
  const uint64_t offset = 12345;
  const std::vector<float> logits = random_tensor(samples * classes, 1, 50.0f, 3.0f);
  const std::vector<double> probabilities = reference::softmax(samples, classes, to_double(logits));
  std::vector<int32_t> labels(samples, -1), labels_three(samples, -1);
  sample_labels(one, samples, classes, logits.data(), stream, offset, labels.data());
  sample_labels(three, samples, classes, logits.data(), stream, offset, labels_three.data());
  CHECK(labels == labels_three);
  for (int64_t n = 0; n < samples; ++n) {
    const double u = uniform_from_word(random_word(stream, offset + static_cast<uint64_t>(n)));
    REQUIRE(labels[n] >= 0);
    REQUIRE(labels[n] < classes);
    double below = 0;
    for (int32_t k = 0; k < labels[n]; ++k) below += probabilities[n * classes + k];
    CHECK(below <= u + 1e-9);
    CHECK(u <= below + probabilities[n * classes + labels[n]] + 1e-9);
  }
}

TEST_CASE("sampled labels have the frequencies of the prediction") {
  Queue queue({}, 2);
  const int64_t samples = 40000;
  std::vector<float> logits;
  for (int64_t n = 0; n < samples; ++n)
    for (const double p : {0.1, 0.6, 0.0, 0.3}) logits.push_back(static_cast<float>(std::log(p)));
  std::vector<int32_t> labels(samples, -1);
  sample_labels(queue, samples, 4, logits.data(), RandomStream{1, 0, 0, RandomPurpose::fisher_labels}, 0,
                labels.data());
  std::vector<double> frequency(4);
  for (const int32_t label : labels) frequency.at(label) += 1.0 / samples;
  CHECK(frequency[2] == 0);
  for (const auto& [k, p] : {std::pair{0, 0.1}, {1, 0.6}, {3, 0.3}})
    CHECK(frequency[k] == Approx(p).margin(5 * std::sqrt(p * (1 - p) / samples)));  // five standard errors
}
