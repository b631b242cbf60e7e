// Products of the curvature matrices of a model's loss with directions in the space of its parameters, exact and
// without the matrix. With l_n the loss of beta z_n, z_n the logits of sample n in inference, g_n its gradient and J_n
// = dz_n/dtheta:
//   hessian       sum_n d2 l_n / dtheta2
//   gauss_newton  sum_n J_n^T (d2 l_n / dz2) J_n: for softmax cross-entropy the Fisher matrix of the model's own labels
//   fisher        sum_n g_n g_n^T, the empirical one: at the labels of the data
// None is divided by the number of samples. A product costs one forward pass of values and tangents and one backward
// pass (layers/dual.h): for the Hessian about 8/3 of a gradient in arithmetic and twice its memory, for the others 5/3
// and hardly more memory. A GPU computes them in the precision of the context's queue: Lanczos iterations want fp32.
#pragma once

#include <noisysgd/layers/model.h>

namespace noisysgd {

enum class CurvatureMatrix { hessian, gauss_newton, fisher };

struct CurvatureOptions {
  CurvatureMatrix matrix = CurvatureMatrix::hessian;
  double inverse_temperature = 1;  // beta; layers/temperature.h fits one
  Targets targets = Targets::training;
  int64_t micro_batch = 0;  // samples of a pass; 0: all that are given
};

class CurvatureProduct {
 public:
  // The model must outlive the product.
  CurvatureProduct(Model& model, const CurvatureOptions& options) : model_(model), options_(options) {}

  // sum += the matrix of the batch times the direction. Throws Error naming a layer or loss that has no such products.
  void add(const Batch& batch, const Block& direction, const Block& sum) const;

 private:
  void add_part(const Batch& batch, const Block& direction, const Block& sum) const;

  Model& model_;
  CurvatureOptions options_;
};

}  // namespace noisysgd
