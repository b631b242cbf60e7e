#include <noisysgd/apps/analysis/convex_quadratic.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <noisysgd/apps/analysis/dense.h>
#include <noisysgd/apps/analysis/normals.h>
#include <noisysgd/core/json.h>

namespace noisysgd {
namespace {

Matrix copy(const Dense& dense) {
  Matrix a(dense.rows(), dense.cols());
  std::copy_n(dense.data(), dense.size(), a.values.begin());
  return a;
}

constexpr uint32_t rotation_stream = 1u << 31;  // apart from those of sampled runs

const std::vector<std::pair<std::string, NoiseShape>>& noise_names() {
  static const std::vector<std::pair<std::string, NoiseShape>> names{{"full", NoiseShape::full},
                                                                     {"diagonal", NoiseShape::diagonal},
                                                                     {"isotropic", NoiseShape::isotropic},
                                                                     {"identity", NoiseShape::identity}};
  return names;
}

std::vector<double> read_eigenvalues(const ConfigReader& json) {
  const std::string type = json.choice("type", {"list", "power", "geometric"});
  if (type == "list")
    return json.numbers("eigenvalues", {.length = {.at_least = 1, .at_most = most_dimensions}, .each = {.above = 0}});
  const int64_t dimension = json.integer("dimension", {.at_least = 2, .at_most = most_dimensions});
  const double largest = json.number("largest", {.default_value = 1, .above = 0});
  std::vector<double> eigenvalues;
  const double exponent =
      type == "power" ? json.number("exponent", {.default_value = 1, .at_least = 0, .at_most = 10}) : 0;
  const double smallest = type == "geometric" ? json.number("smallest", {.above = 0, .at_most = largest}) : 0;
  for (int64_t i = 0; i < dimension; ++i) {
    const double part = static_cast<double>(i) / static_cast<double>(dimension - 1);
    eigenvalues.push_back(type == "power" ? largest / std::pow(static_cast<double>(i + 1), exponent)
                                          : largest * std::pow(smallest / largest, part));
  }
  return eigenvalues;
}

}  // namespace

Matrix operator*(const Matrix& a, const Matrix& b) {
  NSGD_CHECK(a.columns == b.rows, "product of {}x{} and {}x{}", a.rows, a.columns, b.rows, b.columns);
  return copy(view(a) * view(b));
}

Matrix transposed(const Matrix& a) { return copy(view(a).transpose()); }

double trace(const Matrix& a) { return view(a).trace(); }

Spectrum spectrum_of(const Matrix& symmetric) {
  const Eigen::SelfAdjointEigenSolver<Dense> solver(view(symmetric));
  NSGD_CHECK(solver.info() == Eigen::Success, "the eigenvalues of a {}x{} matrix did not converge", symmetric.rows,
             symmetric.rows);
  const Eigen::VectorXd& values = solver.eigenvalues();
  return {{values.begin(), values.end()}, copy(solver.eigenvectors())};
}

Matrix matrix_of(const Spectrum& spectrum) {
  const auto p = view(spectrum.vectors);
  const Dense a = p * view(spectrum.eigenvalues).asDiagonal() * p.transpose();
  return copy((a + a.transpose()) / 2);  // symmetric to the last bit
}

Matrix random_rotation(int64_t dimension, uint64_t seed) {
  Normals normals(seed, rotation_stream);
  Dense gaussian(dimension, dimension);
  for (Eigen::Index i = 0; i < gaussian.size(); ++i) gaussian.data()[i] = normals.next();
  const Eigen::HouseholderQR<Dense> qr(gaussian);
  Dense q = qr.householderQ();
  // Uniform only with a positive diagonal of R (Mezzadri 2007).
  for (Eigen::Index j = 0; j < dimension; ++j)
    if (qr.matrixQR()(j, j) < 0) q.col(j) *= -1;
  return copy(q);
}

std::string name_of(NoiseShape shape) {
  switch (shape) {
    case NoiseShape::full:
      return "full Fisher";
    case NoiseShape::diagonal:
      return "diagonal Fisher";
    case NoiseShape::isotropic:
      return "isotropic";
    default:
      return "identity";
  }
}

Matrix noise_covariance(const Matrix& a, NoiseShape shape) {
  if (shape == NoiseShape::full) return a;
  Matrix covariance(a.rows, a.rows);
  const double mean = trace(a) / static_cast<double>(a.rows);
  for (int64_t i = 0; i < a.rows; ++i)
    covariance(i, i) = shape == NoiseShape::diagonal ? a(i, i) : shape == NoiseShape::isotropic ? mean : 1;
  return covariance;
}

std::vector<double> noise_along_eigenvectors(const Spectrum& spectrum, NoiseShape shape) {
  if (shape == NoiseShape::full) return spectrum.eigenvalues;
  const Matrix covariance = noise_covariance(matrix_of(spectrum), shape);  // diagonal
  const Eigen::VectorXd q = view(spectrum.vectors).array().square().matrix().transpose() * view(covariance).diagonal();
  return {q.begin(), q.end()};
}

Matrix symmetric_root(const Matrix& covariance) {
  Spectrum spectrum = spectrum_of(covariance);
  for (double& value : spectrum.eigenvalues) value = std::sqrt(std::max(0.0, value));
  return matrix_of(spectrum);
}

std::vector<NoiseShape> read_noises(const ConfigReader& json, const std::vector<std::string>& default_value) {
  std::vector<std::string> known;
  for (const auto& [name, shape] : noise_names()) known.push_back(name);
  const StringListRule rule{
      .default_value = default_value, .length = {.at_least = 1}, .distinct = true, .names = known};
  std::vector<NoiseShape> shapes;
  for (const std::string& name : json.strings("noises", rule))
    shapes.push_back(noise_names()[static_cast<size_t>(std::ranges::find(known, name) - known.begin())].second);
  return shapes;
}

Spectrum read_quadratic(const ConfigReader& json, uint64_t seed) {
  const Spectrum valid{{1}, matrix_of({{1}, random_rotation(1, 1)})};
  if (json.has("matrix") == json.has("spectrum")) {
    json.error("matrix", "expected either \"matrix\" or \"spectrum\"");
    json.give_up();
    return valid;
  }
  if (json.has("spectrum")) {
    std::vector<double> eigenvalues = read_eigenvalues(json.object("spectrum"));
    std::sort(eigenvalues.begin(), eigenvalues.end());
    return {eigenvalues, random_rotation(static_cast<int64_t>(eigenvalues.size()), seed)};
  }
  const std::vector<double> values = json.numbers("matrix", {.length = {.at_least = 1}});
  const auto dimension = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(values.size()))));
  if (dimension * dimension != static_cast<int64_t>(values.size())) {
    json.error("matrix",
               fmt::format("expected the rows of a square matrix, one after the other, got {} numbers", values.size()));
    return valid;
  }
  Matrix a(dimension, dimension);
  a.values = values;
  if (view(a) != view(a).transpose()) {
    json.error("matrix", "expected a symmetric matrix");
    return valid;
  }
  Spectrum spectrum = spectrum_of(a);
  // A singular matrix has eigenvalues of the size of rounding, of either sign.
  if (spectrum.eigenvalues.front() <= 1e-13 * spectrum.eigenvalues.back()) {
    json.error("matrix", fmt::format("expected a positive definite matrix, got one with the eigenvalue {:.4g}",
                                     spectrum.eigenvalues.front()));
    return valid;
  }
  return spectrum;
}

ExpectedLoss::ExpectedLoss(const Spectrum& spectrum, std::vector<double> noise, const std::vector<double>& start)
    : eigenvalues_(spectrum.eigenvalues), noise_(std::move(noise)) {
  const Eigen::VectorXd s = (view(spectrum.vectors).transpose() * view(start)).array().square();
  second_moments_.assign(s.begin(), s.end());
}

double ExpectedLoss::value() const {
  double loss = 0;
  for (size_t i = 0; i < eigenvalues_.size(); ++i) loss += eigenvalues_[i] * second_moments_[i] / 2;
  return loss;
}

void ExpectedLoss::step(double rate) {
  for (size_t i = 0; i < eigenvalues_.size(); ++i) {
    const double factor = 1 - rate * eigenvalues_[i];
    second_moments_[i] = factor * factor * second_moments_[i] + rate * rate * noise_[i];
  }
}

double stationary_loss(const Spectrum& spectrum, const std::vector<double>& noise, double rate) {
  double loss = 0;
  for (size_t i = 0; i < noise.size(); ++i) loss += rate * noise[i] / (2 - rate * spectrum.eigenvalues[i]) / 2;
  return loss;
}

SampledLoss sample_loss(const Matrix& a, const Matrix& noise_root, const std::vector<double>& start,
                        const SampledRuns& sampling) {
  Normals normals(sampling.seed, sampling.stream);
  const Eigen::MatrixXd hessian = view(a), root = view(noise_root);
  Eigen::MatrixXd theta = view(start).replicate(1, sampling.runs), gradient, xi(a.rows, sampling.runs);
  SampledLoss result;
  size_t recorded = 0;
  const auto runs = static_cast<double>(sampling.runs);
  for (size_t k = 0; k <= sampling.rates.size() && recorded < sampling.record.size(); ++k) {
    gradient.noalias() = hessian * theta;
    if (sampling.record[recorded] == static_cast<int64_t>(k)) {
      const Eigen::ArrayXd losses = theta.cwiseProduct(gradient).colwise().sum().transpose().array() / 2;
      const double mean = losses.mean(), variance = (losses - mean).square().sum() / std::max(1.0, runs - 1);
      result.mean.push_back(mean);
      result.standard_error.push_back(std::sqrt(variance / runs));
      ++recorded;
    }
    if (k == sampling.rates.size()) break;
    for (Eigen::Index i = 0; i < xi.size(); ++i) xi.data()[i] = normals.next();
    theta.noalias() -= sampling.rates[k] * (gradient - root * xi);
  }
  return result;
}

}  // namespace noisysgd
