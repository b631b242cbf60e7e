#include <noisysgd/optim/weight_average.h>

#include <utility>

#include <noisysgd/kernels/moving_average.h>

namespace noisysgd {

WeightAverage::WeightAverage(Context& context, Model& model, float decay)
    : context_(context), model_(model), decay_(decay), values_(zeros(context, {model.parameter_set().padded()})) {
  for (const Parameter* parameter : model_.parameters())
    views_.push_back(values_.view(parameter->offset, parameter->shape));
  for (const Buffer* buffer : model_.buffers()) buffers_.emplace_back(context_, buffer->shape);
  restart();
}

void WeightAverage::restart() {
  copy(context_, model_.parameter_set().values(), values_);
  for (size_t i = 0; i < buffers_.size(); ++i) copy(context_, model_.buffers()[i]->value, buffers_[i]);
}

void WeightAverage::update() {
  const auto add = [&](const Tensor& latest, const Tensor& average) {
    kernels::moving_average(context_.queue, average.elements(), decay_, latest.f32(), average.f32());
  };
  add(model_.parameter_set().values(), values_);
  for (size_t i = 0; i < buffers_.size(); ++i) add(model_.buffers()[i]->value, buffers_[i]);
}

void WeightAverage::visit_state(StateVisitor& visitor) const {
  for (size_t i = 0; i < views_.size(); ++i)
    visitor.visit("average." + model_.parameters()[i]->name, *model_.parameters()[i], views_[i]);
  for (size_t i = 0; i < buffers_.size(); ++i) visitor.visit("average." + model_.buffers()[i]->name, buffers_[i]);
}

void WeightAverage::swap() noexcept {
  model_.parameter_set().exchange_values(values_, views_);
  for (size_t i = 0; i < buffers_.size(); ++i) std::swap(model_.buffers()[i]->value, buffers_[i]);
}

}  // namespace noisysgd
