// Views of the matrices and vectors of analyses for Eigen, for .cpp files: Eigen takes long to compile.
#pragma once

#include <Eigen/Dense>
#include <vector>

#include <noisysgd/apps/analysis/convex_quadratic.h>

namespace noisysgd {

using Dense = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline Eigen::Map<const Dense> view(const Matrix& a) { return {a.values.data(), a.rows, a.columns}; }
inline Eigen::Map<const Eigen::VectorXd> view(const std::vector<double>& v) {
  return {v.data(), static_cast<Eigen::Index>(v.size())};
}

}  // namespace noisysgd
