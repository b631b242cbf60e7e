// A model whose parameters and running statistics are those of no initialisation, as after training.
#pragma once

#include <memory>

#include <noisysgd/layers/model.h>
#include "tests/random_tensor.h"

namespace noisysgd::test {

inline Model trained(Context& context, std::unique_ptr<Layer> network, int64_t classes, bool folded = false,
                     std::shared_ptr<const Loss> loss = std::make_shared<SoftmaxCrossEntropy>()) {
  Model model(context, std::move(network), classes, std::move(loss));
  model.parameter_set().initialise(7);
  uint32_t stream = 900;
  const auto put = [&](const Tensor& tensor, float offset, float scale) {
    copy_from_host<float>(context, random_tensor(tensor.elements(), ++stream, offset, scale), tensor);
  };
  for (const Parameter* parameter : model.parameters())
    if (parameter->shape.rank() == 1) put(parameter->value, parameter->name.ends_with("weight") ? 1.0f : 0.0f, 0.5f);
  for (const Buffer* buffer : model.buffers()) put(buffer->value, buffer->name.ends_with("var") ? 1.2f : 0.0f, 0.8f);
  if (folded) return std::move(model).fold_batch_norm();
  return model;
}

}  // namespace noisysgd::test
