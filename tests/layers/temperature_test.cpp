#include <noisysgd/layers/temperature.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/layers/network.h"
#include "tests/reference/reference.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

const Shape image{3, 2, 1};
constexpr int64_t classes = 4, samples = 300;

struct Classifier {
  Classifier()
      : context(test_device),
        model(context,
              network_from(R"({"type": "sequential", "layers": [{"type": "flatten"}, {"type": "linear"}]})", image,
                           classes),
              classes),
        batch(random_batch(context, image, samples, classes)) {
    model.parameter_set().initialise(3);
    scale_weights(5);
  }
  void scale_weights(float factor) {
    const Tensor& weight = model.parameters()[0]->value;
    std::vector<float> values = to_host<float>(context, weight);
    for (float& value : values) value *= factor;
    copy_from_host<float>(context, values, weight);
  }
  // Labels drawn at `beta` times the scores.
  void draw_labels(float beta) {
    std::vector<float> scores = to_host<float>(context, model.logits(batch.images));
    for (float& score : scores) score *= beta;
    model.loss().sample_labels(context, from_host(context, {samples, classes}, scores), {5, 0, 0, RandomPurpose::test},
                               0, batch.labels);
  }
  // Of -1: those of the smallest score; of 1: of the largest.
  void order_labels(float sign) {
    const std::vector<float> scores = to_host<float>(context, model.logits(batch.images));
    std::vector<int32_t> labels;
    for (auto row = scores.begin(); row != scores.end(); row += classes)
      labels.push_back(static_cast<int32_t>(
          (sign > 0 ? std::max_element(row, row + classes) : std::min_element(row, row + classes)) - row));
    copy_from_host<int32_t>(context, labels, batch.labels);
  }
  AllBatches in_parts(int64_t size) {
    return [this, size](const std::function<void(const Batch&)>& visit) {
      for (int64_t begin = 0; begin < samples; begin += size) visit(batch.rows(begin, std::min(samples, begin + size)));
    };
  }
  double loss_at(double beta) {
    std::vector<double> scores = to_double(to_host<float>(context, model.logits(batch.images)));
    for (double& score : scores) score *= beta;
    double sum = 0;
    for (const double loss :
         reference::cross_entropy(samples, classes, scores, to_host<int32_t>(context, batch.labels), 0))
      sum += loss;
    return sum;
  }

  Context context;
  Model model;
  Batch batch;
};

}  // namespace

TEST_CASE("the inverse temperature minimises the loss of the scaled scores, however the samples are cut") {
  for (const float drawn_at : {0.2f, 0.9f, 2.5f}) {
    CAPTURE(drawn_at);
    Classifier subject;
    subject.draw_labels(drawn_at);
    // Bisection on the slope in fp64, of a function that is convex.
    double low = 1e-3, high = 10;
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2, step = 1e-5 * middle;
      (subject.loss_at(middle + step) > subject.loss_at(middle - step) ? high : low) = middle;
    }
    const double beta = fit_inverse_temperature(subject.model, subject.in_parts(samples));
    CHECK(beta == Approx(low).epsilon(1e-5));
    CHECK(fit_inverse_temperature(subject.model, subject.in_parts(70)) == Approx(beta).epsilon(1e-6));
    CHECK(beta > drawn_at / 2);
    CHECK(beta < drawn_at * 2);
    subject.scale_weights(8);
    CHECK(8 * fit_inverse_temperature(subject.model, subject.in_parts(samples)) == Approx(beta).epsilon(1e-5));
  }
}

TEST_CASE("samples without a best temperature are refused with the reason") {
  Classifier subject;
  const auto refused = [&] {
    return error_of([&] { fit_inverse_temperature(subject.model, subject.in_parts(samples)); });
  };
  subject.order_labels(1);
  CHECK(contains(refused(), "they order the labels of all samples right"));
  subject.order_labels(-1);
  CHECK(contains(refused(), "they say nothing of the labels"));
  subject.scale_weights(NAN);
  CHECK(contains(refused(), "is not finite"));
  CHECK(error_of([&] { fit_inverse_temperature(subject.model, [](const auto&) {}); }) ==
        "temperature: there are no samples to fit it to");
}
