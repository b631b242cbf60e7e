#include <noisysgd/optim/group_statistics.h>

#include <algorithm>
#include <numeric>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/gemm.h>

namespace noisysgd {

namespace {

// Rows are padded with zeros to whole cache lines, as parameters are (core/parameter.h).
int64_t row_elements(const Parameter& parameter) { return (parameter.shape.elements() + 15) / 16 * 16; }

Tensor row(const Tensor& rows, int64_t group, const Parameter& parameter) {
  return rows.view(group * row_elements(parameter), parameter.shape);
}

// B sum_i Var_r (U_r/B)_i = (sum_r |U_r|^2 - |sum_r U_r|^2 / R) / (B (R - 1))
double variance(const float* gram, int64_t groups, int64_t group_size) {
  double squares = 0, square_of_sum = 0;
  for (int64_t r = 0; r < groups; ++r)
    for (int64_t q = 0; q < groups; ++q) {
      const double product = gram[r * groups + q];
      square_of_sum += product;
      if (r == q) squares += product;
    }
  const auto count = static_cast<double>(groups);
  return (squares - square_of_sum / count) / (static_cast<double>(group_size) * (count - 1));
}

std::optional<double> effective_rank(const float* gram, int64_t groups) {
  double trace_squared = 0, norm_squared = 0;
  const auto at = [&](int64_t r, int64_t q) { return double{gram[r * groups + q]}; };
  for (int64_t r = 0; r < groups; ++r)
    for (int64_t q = 0; q < r; ++q) {
      trace_squared += at(r, r) * at(q, q);
      norm_squared += at(r, q) * at(r, q);
    }
  if (norm_squared > 0) return trace_squared / norm_squared;
  return {};
}

}  // namespace

SampleGroups::SampleGroups(Model& model, const FisherOptions& fisher, int64_t samples, int64_t wanted) {
  const int64_t ghost = fisher.batch_norm == GhostFisher::ghost_variance ? fisher.ghost_size : 1;
  const int64_t unit = std::lcm(ghost, std::max<int64_t>(1, model.coupling().ghost_size()));
  NSGD_CHECK(!model.coupling().of_whole_batch(),
             "logging.groups: batch_norm couples all samples of the batch; set batch.ghost_size");
  const int64_t groups = std::min(wanted, samples / unit);
  if (groups < 2) return;
  count = groups;
  size = samples / (unit * groups) * unit;
}

GroupStatistics::GroupStatistics(Context& context, Model& model, const SampleGroups& groups)
    : context_(context), parameters_(model.parameter_set().trained()), groups_(groups) {
  if (groups.count == 0) return;
  for (const Parameter* parameter : parameters_) {
    gradients_.push_back(zeros(context, {groups.count, row_elements(*parameter)}));
    draws_.push_back(zeros(context, gradients_.back().shape()));
  }
  draw_ = Block(context, model.parameter_set());
}

int64_t GroupStatistics::end_of_piece(int64_t begin, int64_t end) const {
  return inside(begin) ? std::min(end, (begin / groups_.size + 1) * groups_.size) : end;
}

Block GroupStatistics::begin_piece(int64_t begin, const Block& gradient) {
  if (!inside(begin)) return {};
  if (begin % groups_.size == 0) {
    take_gradients(-1.0f, begin / groups_.size, gradient);
    fill(context_, draw_.all(), 0.0f);
  }
  return draw_;
}

void GroupStatistics::end_piece(int64_t end, const Block& gradient) {
  if (end == 0 || !inside(end - 1) || end % groups_.size != 0) return;
  const int64_t group = end / groups_.size - 1;
  take_gradients(1.0f, group, gradient);
  for (size_t i = 0; i < parameters_.size(); ++i)
    copy(context_, draw_.of(*parameters_[i]), row(draws_[i], group, *parameters_[i]));
}

// U_r as the difference of the gradient sums after and before its group.
void GroupStatistics::take_gradients(float sign, int64_t group, const Block& gradient) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = *parameters_[i];
    const Tensor target = row(gradients_[i], group, parameter);
    const int64_t n = parameter.shape.elements();
    if (sign < 0)
      kernels::scale(context_.queue, n, sign, gradient.at(parameter), target.f32());
    else
      kernels::add(context_.queue, n, gradient.at(parameter), target.f32());
  }
}

void GroupStatistics::multiply(const Tensor& products) const {
  if (groups_.count == 0) return;
  const int64_t count = groups_.count;
  fill(context_, products, 0.0f);
  int64_t layer = -1;
  const Parameter* previous = nullptr;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!previous || layer_name(*previous) != layer_name(*parameters_[i])) ++layer;
    previous = parameters_[i];
    const auto add = [&](const Tensor& rows, int64_t which) {
      kernels::gemm(context_.queue, kernels::Transpose::no, kernels::Transpose::yes, count, count, rows.shape()[1],
                    1.0f, rows.f32(), rows.f32(), 1.0f, products.f32() + (2 * layer + which) * count * count);
    };
    add(gradients_[i], 0);
    add(draws_[i], 1);
  }
}

void measure_groups(const SampleGroups& groups, const std::vector<Parameter*>& parameters, const float* products,
                    std::vector<LayerFisher>& layers) {
  if (groups.count == 0) return;
  for (LayerFisher& layer : layers) {
    const float *gradients = products, *draws = products + groups.count * groups.count;
    products += 2 * groups.count * groups.count;
    const bool has_draws = std::ranges::all_of(parameters, [&](const Parameter* parameter) {
      return layer_name(*parameter) != layer.layer || parameter->gives_sample_statistics;
    });
    if (const double b_var = variance(gradients, groups.count, groups.size); b_var > 0)
      layer.variance_ratio = layer.trace / b_var;
    if (has_draws) layer.effective_rank = effective_rank(draws, groups.count);
  }
}

}  // namespace noisysgd
