#include <noisysgd/core/parameter.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include <noisysgd/kernels/random.h>

namespace noisysgd {

namespace {

constexpr int64_t alignment = 16;  // floats: one cache line; vector loads of one tensor never read the next

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

ParameterSet::ParameterSet(Context& context, std::vector<Parameter*> parameters)
    : context_(context), list_(std::move(parameters)) {
  std::set<std::string> names;
  for (Parameter* parameter : list_) {
    NSGD_CHECK(names.insert(parameter->name).second, "two parameters are named '{}'", parameter->name);
    NSGD_CHECK(parameter->shape.has_at_most(most_elements), "parameter '{}' of shape {} has more than {} elements",
               parameter->name, parameter->shape.text(), most_elements);
    parameter->index = static_cast<uint32_t>(names.size() - 1);
    parameter->offset = padded_;
    elements_ += parameter->shape.elements();
    padded_ += (parameter->shape.elements() + alignment - 1) / alignment * alignment;
  }
  values_ = zeros(context_, {padded_});
  for (Parameter* parameter : list_) parameter->value = values_.view(parameter->offset, parameter->shape);
}

std::vector<Parameter*> ParameterSet::trained() const {
  std::vector<Parameter*> trained;
  std::ranges::copy_if(list_, std::back_inserter(trained), [](const Parameter* p) { return !p->frozen; });
  return trained;
}

void ParameterSet::exchange_values(Tensor& values, std::vector<Tensor>& views) noexcept {
  std::swap(values_, values);
  for (size_t i = 0; i < list_.size(); ++i) std::swap(list_[i]->value, views[i]);
}

void ParameterSet::initialise(uint64_t seed) {
  for (Parameter* parameter : list_) {
    const auto [mean, std] = parameter->initialisation;
    if (std == 0) {
      fill(context_, parameter->value, mean);
      continue;
    }
    const RandomStream stream{seed, 0, parameter->index, RandomPurpose::initialisation};
    kernels::random_normal(context_.queue, parameter->value.elements(), mean, std, stream, parameter->value.f32());
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
