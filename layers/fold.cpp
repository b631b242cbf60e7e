#include <noisysgd/layers/fold.h>

#include <cmath>

#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/model.h>

namespace noisysgd {

void ChannelMap::apply(Context& context, KroneckerShape& factors, Parameter& weight, Parameter& bias) const {
  std::vector<float> weights = to_host<float>(context, weight.value), shifts(shift.size());
  const size_t of_channel = weights.size() / scale.size();
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(scale[i / of_channel] * weights[i]);
  copy_from_host<float>(context, weights, weight.value);
  if (factors.bias) {
    shifts = to_host<float>(context, bias.value);
  } else {
    bias.value = Tensor(context, bias.shape);
    factors.bias = &bias;
    ++factors.inputs;
  }
  for (size_t k = 0; k < shifts.size(); ++k) shifts[k] = static_cast<float>(scale[k] * shifts[k] + shift[k]);
  copy_from_host<float>(context, shifts, bias.value);
}

Layer* BatchNorm::fold_batch_norm(Context& context, Layer* before) {
  NSGD_CHECK(before, "batch_norm '{}' cannot be folded: no layer stands right before it in its sequence", name());
  const auto values_of = [&](const Tensor& tensor) { return to_host<float>(context, tensor); };
  const std::vector<float> gamma = values_of(gamma_.value), beta = values_of(beta_.value),
                           mean = values_of(running_mean_.value), variance = values_of(running_variance_.value);
  ChannelMap map;
  for (size_t c = 0; c < gamma.size(); ++c) {
    map.scale.push_back(gamma[c] / std::sqrt(double{variance[c]} + options_.epsilon));
    map.shift.push_back(beta[c] - map.scale[c] * mean[c]);
  }
  NSGD_CHECK(before->absorb(context, map),
             "batch_norm '{}' cannot be folded: the layer before it, '{}', is neither a linear layer nor a convolution",
             name(), before->name());
  return before;
}

Model Model::fold_batch_norm() && {
  network_->fold_batch_norm(context_, nullptr);
  std::vector<Tensor> parameters, buffers;
  for (const Parameter* parameter : network_->parameters()) parameters.push_back(parameter->value);
  for (const Buffer* buffer : network_->buffers()) buffers.push_back(buffer->value);
  Model folded(context_, std::move(network_), classes_, loss_);  // binds them to other memory
  for (size_t i = 0; i < parameters.size(); ++i) copy(context_, parameters[i], folded.parameters()[i]->value);
  for (size_t i = 0; i < buffers.size(); ++i) copy(context_, buffers[i], folded.buffers()[i]->value);
  return folded;
}

}  // namespace noisysgd
