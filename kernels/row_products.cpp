#include <noisysgd/kernels/row_products.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/kernels/parallel.h>

namespace noisysgd::kernels::cpu {
namespace {

// With t - t_argmax in the place of t, whose mean under p is then a sum over the small probabilities alone.
void curvature_row(const float* z, const float* t, int64_t classes, float* product) {
  const int64_t argmax = std::max_element(z, z + classes) - z;
  double tail = 0, sum = 0;  // of e_k = exp(z_k - max), of e_k (t_k - t_argmax), over k != argmax
  for (int64_t k = 0; k < classes; ++k) {
    if (k == argmax) continue;
    const double e = std::exp(z[k] - z[argmax]);
    tail += e;
    sum += e * (double{t[k]} - t[argmax]);
    product[k] = static_cast<float>(e);
  }
  const double total = 1.0 + tail, mean = sum / total;
  for (int64_t k = 0; k < classes; ++k)
    if (k != argmax) product[k] = static_cast<float>(product[k] / total * (double{t[k]} - t[argmax] - mean));
  product[argmax] = static_cast<float>(-mean / total);
}

template <class Row>
void over_rows(Queue& queue, int64_t samples, int64_t classes, const Row& row) {
  parallel_ranges(queue, samples, std::max<int64_t>(1, 4096 / std::max<int64_t>(classes, 1)),
                  [&](int64_t first, int64_t last) {
                    for (int64_t n = first; n < last; ++n) row(n * classes);
                  });
}

}  // namespace

void softmax_curvature(Queue& queue, int64_t samples, int64_t classes, const float* logits, const float* tangent,
                       float* product) {
  NSGD_CHECK(samples == 0 || classes > 0, "softmax_curvature: {} classes", classes);
  over_rows(queue, samples, classes,
            [&](int64_t at) { curvature_row(logits + at, tangent + at, classes, product + at); });
}

void outer_product(Queue& queue, int64_t samples, int64_t classes, const float* gradient, const float* tangent,
                   float* product) {
  over_rows(queue, samples, classes, [&](int64_t at) {
    double sum = 0;
    for (int64_t k = at; k < at + classes; ++k) sum += double{gradient[k]} * tangent[k];
    for (int64_t k = at; k < at + classes; ++k) product[k] = static_cast<float>(gradient[k] * sum);
  });
}

}  // namespace noisysgd::kernels::cpu
