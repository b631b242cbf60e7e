#include <noisysgd/apps/analysis/fisher_norms.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/reduce.h>

namespace noisysgd {

namespace {

// Inner products of rows, on the host.
std::vector<float> products(Context& context, const Tensor& rows) {
  const int64_t count = rows.shape()[0];
  const Tensor gram(context, {count, count});
  kernels::gemm(context.queue, kernels::Transpose::no, kernels::Transpose::yes, count, count, rows.shape()[1], 1.0f,
                rows.f32(), rows.f32(), 0.0f, gram.f32());
  return to_host<float>(context, gram);
}

// The sum of the squares of a tensor's elements.
double sum_of_squares(Context& context, const Tensor& tensor) {
  const Tensor sums(context, {1, 2}, DType::f64);
  const std::array<kernels::SummedTensor, 1> summed{{{tensor.elements(), tensor.f32(), 0}}};
  kernels::tensor_sums(context.queue, summed, 1, sums.data<double>());
  return to_host<double>(context, sums)[1];
}

}  // namespace

Tensor sample_gradients(Model& model, const Batch& batch, const SampleGradientOptions& options) {
  Context& context = model.context();
  for (const Parameter* parameter : model.parameter_set().trained())
    NSGD_CHECK(parameter->gives_sample_statistics,
               "the layer of parameter '{}' gives no gradients of single samples", parameter->name);
  const int64_t samples = batch.size(), pass = options.pass > 0 ? options.pass : samples;
  Tensor rows = zeros(context, {samples, model.parameter_set().padded()});
  for (int64_t begin = 0; begin < samples; begin += pass) {
    const BackwardJob job{.loss = {options.labels, {}}, .into = {.sample_gradients = rows}};
    model.accumulate(batch.rows(begin, std::min(samples, begin + pass)), {.samples = {options.seed, 0, begin}},
                     {&job, 1});
  }
  return rows;
}

FisherNorms fisher_norms(Context& context, const Tensor& rows) {
  const int64_t samples = rows.shape()[0], width = rows.shape()[1];
  NSGD_CHECK(samples > 1, "norms of the Fisher matrix need at least two samples, got {}", samples);
  FisherNorms norms{.samples = samples};
  const std::vector<float> gram = products(context, rows);
  double all = 0, own = 0, fourth = 0;  // sums of K_nm^2, K_nn and K_nn^2
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t m = 0; m < samples; ++m) {
      const double k = gram[static_cast<size_t>(n * samples + m)];
      all += k * k;
      if (n == m) own += k, fourth += k * k;
    }
  // Sums over the samples of the squares of a parameter's gradients, and over both of their fourth powers.
  const Tensor second = zeros(context, {width}), square(context, {width});
  double fourth_powers = 0;
  for (int64_t n = 0; n < samples; ++n) {
    const Tensor row = rows.rows(n, n + 1);
    fill(context, square, 0.0f);
    kernels::add_square(context.queue, width, row.f32(), square.f32());
    kernels::add(context.queue, width, square.f32(), second.f32());
    fourth_powers += sum_of_squares(context, square);
  }
  const double squares = sum_of_squares(context, second);

  const auto m = static_cast<double>(samples);
  const double pairs = m * (m - 1);
  norms.trace = own / m;
  norms.norm = std::sqrt(all) / m;
  norms.diagonal_norm = std::sqrt(squares) / m;
  norms.population_norm_squared = (all - fourth) / pairs;
  norms.population_diagonal_norm_squared = (squares - fourth_powers) / pairs;
  norms.mean_fourth_power = fourth / m;
  norms.effective_rank = (own * own - fourth) / (all - fourth);
  return norms;
}

NormFromDraws norm_from_draws(Context& context, std::span<const std::vector<float>> draws, double factor) {
  const auto count = static_cast<int64_t>(draws.size());
  NSGD_CHECK(count > 2, "the norm from draws of noise needs at least 3 of them, got {}", count);
  const auto width = static_cast<int64_t>(draws[0].size());
  const Tensor rows(context, {count, width});
  for (int64_t r = 0; r < count; ++r)
    copy_from_host<float>(context, draws[static_cast<size_t>(r)], rows.rows(r, r + 1));
  const std::vector<float> gram = products(context, rows);
  std::vector<double> of_draw(static_cast<size_t>(count));  // sums of its squared products with the others
  double total = 0;
  for (int64_t r = 0; r < count; ++r)
    for (int64_t q = 0; q < r; ++q) {
      const double product = gram[static_cast<size_t>(r * count + q)] / factor;
      of_draw[static_cast<size_t>(r)] += product * product;
      of_draw[static_cast<size_t>(q)] += product * product;
      total += product * product;
    }
  const auto n = static_cast<double>(count);
  NormFromDraws result{.squared = total / (n * (n - 1) / 2)};
  double spread = 0;  // of the estimates that leave out one draw; their mean is the estimate itself
  for (const double own : of_draw) {
    const double without = (total - own) / ((n - 1) * (n - 2) / 2);
    spread += (without - result.squared) * (without - result.squared);
  }
  result.standard_error = std::sqrt(spread * (n - 1) / n);
  return result;
}

}  // namespace noisysgd
