#include "optim/weight_average.h"

#include <utility>

#include "kernels/moving_average.h"

namespace noisysgd {

WeightAverage::WeightAverage(Context& context, Model& model, float decay)
    : context_(context), model_(model), decay_(decay) {
  for (const Parameter* parameter : model_.parameters()) averages_.emplace_back(context_, parameter->shape);
  for (const Buffer* buffer : model_.buffers()) buffer_averages_.emplace_back(context_, buffer->shape);
  restart();
}

void WeightAverage::restart() {
  for (size_t i = 0; i < averages_.size(); ++i) copy(context_, model_.parameters()[i]->value, averages_[i]);
  for (size_t i = 0; i < buffer_averages_.size(); ++i) copy(context_, model_.buffers()[i]->value, buffer_averages_[i]);
}

void WeightAverage::update() {
  const auto add = [&](const Tensor& latest, const Tensor& average) {
    kernels::moving_average(context_.queue, average.elements(), decay_, latest.f32(), average.f32());
  };
  for (size_t i = 0; i < averages_.size(); ++i) add(model_.parameters()[i]->value, averages_[i]);
  for (size_t i = 0; i < buffer_averages_.size(); ++i) add(model_.buffers()[i]->value, buffer_averages_[i]);
}

void WeightAverage::swap() {
  for (size_t i = 0; i < averages_.size(); ++i) std::swap(model_.parameters()[i]->value, averages_[i]);
  for (size_t i = 0; i < buffer_averages_.size(); ++i) std::swap(model_.buffers()[i]->value, buffer_averages_[i]);
}

}  // namespace noisysgd
