#include "core/parameter.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/elementwise.h"
#include "kernels/random.h"

namespace noisysgd {

namespace {

constexpr int64_t alignment = 16;  // floats: one cache line, so that vector loads of one tensor never touch the next

// exported [K,C,T] <-> internal [K,T,C], T = R*S
template <class Copy>
void for_each_filter_element(const Shape& krsc, Copy copy) {
  const int64_t filters = krsc[0], taps = krsc[1] * krsc[2], channels = krsc[3];
  for (int64_t k = 0; k < filters; ++k)
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t c = 0; c < channels; ++c) copy((k * taps + t) * channels + c, (k * channels + c) * taps + t);
}

}  // namespace

Shape Parameter::exported_shape() const {
  return layout == ParameterLayout::krsc ? Shape{shape[0], shape[3], shape[1], shape[2]} : shape;
}

ParameterArena::ParameterArena(Context& context, std::vector<Parameter*> parameters, bool second_moment)
    : context_(context), parameters_(std::move(parameters)) {
  std::set<std::string> names;
  for (Parameter* parameter : parameters_) {
    NSGD_CHECK(names.insert(parameter->name).second, "two parameters are named '{}'", parameter->name);
    NSGD_CHECK(parameter->shape.has_at_most(most_elements), "parameter '{}' of shape {} has more than {} elements",
               parameter->name, parameter->shape.text(), most_elements);
    parameter->index = static_cast<uint32_t>(offsets_.size());
    offsets_.push_back(padded_);
    elements_ += parameter->shape.elements();
    padded_ += (parameter->shape.elements() + alignment - 1) / alignment * alignment;
  }
  value_ = zeros(context_, {padded_});
  gradient_sum_ = zeros(context_, {padded_});
  velocity_ = zeros(context_, {padded_});
  bind(&Parameter::value, value_);
  bind(&Parameter::gradient_sum, gradient_sum_);
  bind(&Parameter::velocity, velocity_);
  if (second_moment) require_second_moment();
}

void ParameterArena::bind(Tensor Parameter::*member, const Tensor& block) {
  for (size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i]->*member = block.view(offsets_[i], parameters_[i]->shape);
}

void ParameterArena::require(Tensor Parameter::*member, Tensor& block) {
  if (block.defined()) return;
  block = zeros(context_, {padded_});
  bind(member, block);
}

void ParameterArena::require_second_moment() { require(&Parameter::second_moment, second_moment_); }
void ParameterArena::require_noise_sum() { require(&Parameter::noise_sum, noise_sum_); }
void ParameterArena::require_noise_variance() { require(&Parameter::noise_variance, noise_variance_); }
void ParameterArena::require_fisher_average() { require(&Parameter::fisher_average, fisher_average_); }

void ParameterArena::require_kronecker_factors(bool of_inputs) {
  if (!kronecker_.empty()) return;
  for (const Parameter* parameter : parameters_) {
    KroneckerFactors* factors = parameter->kronecker;
    if (!factors || factors->weight != parameter) continue;
    if (of_inputs) {
      factors->input_sum = zeros(context_, {factors->inputs, factors->inputs});
      factors->input_root = zeros(context_, factors->input_sum.shape());
    }
    factors->output_sum = zeros(context_, {factors->outputs, factors->outputs});
    factors->output_root = zeros(context_, factors->output_sum.shape());
    kronecker_.push_back(factors);
  }
}

void ParameterArena::begin_group() {
  if (!before_group_.defined()) {
    const Allocator::Lasting lasting(context_.allocator);
    before_group_ = zeros(context_, {padded_});
  }
  kernels::scale(context_.queue, padded_, 1.0f, gradient_sum_.f32(), before_group_.f32());
  fill(context_, gradient_sum_, 0.0f);
}

void ParameterArena::end_group() {
  kernels::add_square(context_.queue, padded_, gradient_sum_.f32(), second_moment_.f32());
  kernels::add(context_.queue, padded_, before_group_.f32(), gradient_sum_.f32());
}

void ParameterArena::gradients_into(GradientTarget target) {
  if (target == GradientTarget::discarded && !discarded_.defined()) {
    const Allocator::Lasting lasting(context_.allocator);
    discarded_ = zeros(context_, {padded_});
  }
  NSGD_CHECK(target != GradientTarget::noise_sum || noise_sum_.defined(),
             "gradients_into: the arena was made without noise sums");
  bind(&Parameter::gradient_sum, target == GradientTarget::discarded   ? discarded_
                                 : target == GradientTarget::noise_sum ? noise_sum_
                                                                       : gradient_sum_);
}

void ParameterArena::noise_sums_into(const std::vector<Tensor>& sums) {
  NSGD_CHECK(sums.empty() || sums.size() == parameters_.size(), "noise_sums_into: {} tensors for {} parameters",
             sums.size(), parameters_.size());
  for (size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i]->noise_sum = !sums.empty()          ? sums[i]
                                : noise_sum_.defined() ? noise_sum_.view(offsets_[i], parameters_[i]->shape)
                                                       : Tensor();
}

void ParameterArena::initialise(uint64_t seed) {
  zero_sums();
  fill(context_, velocity_, 0.0f);
  for (Parameter* parameter : parameters_) {
    const auto [mean, std] = parameter->initialisation;
    if (std == 0) {
      fill(context_, parameter->value, mean);
      continue;
    }
    const RandomStream stream{seed, 0, parameter->index, RandomPurpose::initialisation};
    kernels::random_normal(context_.queue, parameter->value.elements(), mean, std, stream, parameter->value.f32());
  }
}

void ParameterArena::zero_sums() {
  fill(context_, gradient_sum_, 0.0f);
  if (has_second_moment()) fill(context_, second_moment_, 0.0f);
  if (noise_sum_.defined()) fill(context_, noise_sum_, 0.0f);
  if (noise_variance_.defined()) fill(context_, noise_variance_, 0.0f);
  for (const KroneckerFactors* factors : kronecker_) {
    if (factors->input_sum.defined()) fill(context_, factors->input_sum, 0.0f);
    fill(context_, factors->output_sum, 0.0f);
  }
}

void bind_buffers(Context& context, const std::vector<Buffer*>& buffers) {
  for (Buffer* buffer : buffers) {
    buffer->value = Tensor(context, buffer->shape);
    fill(context, buffer->value, buffer->initial);
  }
}

void to_exported_layout(const Parameter& parameter, const float* internal, float* exported) {
  if (parameter.layout == ParameterLayout::same) {
    std::copy_n(internal, parameter.shape.elements(), exported);
  } else {
    for_each_filter_element(parameter.shape, [&](int64_t krsc, int64_t oihw) { exported[oihw] = internal[krsc]; });
  }
}

void from_exported_layout(const Parameter& parameter, const float* exported, float* internal) {
  if (parameter.layout == ParameterLayout::same) {
    std::copy_n(exported, parameter.shape.elements(), internal);
  } else {
    for_each_filter_element(parameter.shape, [&](int64_t krsc, int64_t oihw) { internal[krsc] = exported[oihw]; });
  }
}

}  // namespace noisysgd
