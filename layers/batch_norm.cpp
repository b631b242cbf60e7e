#include <noisysgd/layers/batch_norm.h>

#include <noisysgd/layers/centered_sums.h>
#include <noisysgd/layers/weight_gradient.h>

namespace noisysgd {

BatchNorm::BatchNorm(std::string name, const Shape& input, const BatchNormOptions& options)
    : Layer(name, input, input), options_(options), channels_(input[-1]), positions_(input.elements() / input[-1]) {
  NSGD_CHECK(options.ghost_size.value_or(2) * positions_ > 1,
             "batch_norm '{}': ghost_size of 1 leaves one value per channel, which has no variance", name);
  gamma_ = {name + ".weight", {channels_}, Initialisation::constant(1)};
  beta_ = {name + ".bias", {channels_}};
  gamma_.gives_sample_statistics = beta_.gives_sample_statistics = true;
  gamma_.gives_signed_squares = beta_.gives_signed_squares = true;
  running_mean_ = {name + ".running_mean", {channels_}, 0.0f, {}};
  running_variance_ = {name + ".running_var", {channels_}, 1.0f, {}};
}

SampleCoupling BatchNorm::coupling() const {
  const int64_t least = positions_ > 1 ? 1 : 2;  // one value has no variance
  return options_.ghost_size ? SampleCoupling::ghosts(*options_.ghost_size, least) : SampleCoupling::whole_batch(least);
}

namespace {

kernels::BatchNormEpilogue arrays_of(const Epilogue& epilogue) {
  const Tensor& addend = epilogue.addend.value;
  return {addend.defined() ? addend.values() : kernels::Values(), epilogue.relu};
}

}  // namespace

// What backward needs of a forward pass.
struct BatchNorm::Saved {
  kernels::BatchNormShape shape;
  Variable x;
  Tensor mean, inverse_std;
  bool relu;
  int addend_id;
  std::shared_ptr<Normalisation> normalisation;
  Tensor output = {};  // of a sum through a ReLU: x alone does not tell its sign; otherwise undefined
};

Variable BatchNorm::forward_fused(const Forward& pass, Variable x, Epilogue epilogue) {
  if (!pass.training) return normalise_by_running_statistics(pass, std::move(x), epilogue);

  const int64_t samples = x.value.shape()[0];
  const int64_t group = std::min(samples, options_.ghost_size.value_or(samples));
  NSGD_CHECK(samples % group == 0, "batch_norm '{}': {} samples are not a multiple of the ghost size {}", name(),
             samples, group);
  NSGD_CHECK(group * positions_ > 1, "batch_norm '{}': one value per channel has no variance; use a larger batch",
             name());
  const kernels::BatchNormShape shape{samples, positions_, channels_, group};

  Tensor mean(pass.context, {shape.groups(), channels_}), inverse_std(pass.context, {shape.groups(), channels_});
  const Tensor& addend = epilogue.addend.value;
  Tensor y = addend.sole_owner() ? addend : pass.output(x.value.shape());
  kernels::batch_norm_forward(pass.context.queue, shape,
                              {.epsilon = options_.epsilon,
                               .gamma = gamma_.value.f32(),
                               .beta = beta_.value.f32(),
                               .momentum = options_.momentum,
                               .running_mean = running_mean_.value.f32(),
                               .running_variance = running_variance_.value.f32(),
                               .mean = mean.f32(),
                               .inverse_std = inverse_std.f32(),
                               .epilogue = arrays_of(epilogue)},
                              x.value.values(), y.values());

  Saved saved{shape, std::move(x), std::move(mean), std::move(inverse_std), epilogue.relu, epilogue.addend.id,
              std::move(epilogue.normalisation)};
  if (epilogue.relu && epilogue.addend.value.defined()) saved.output = y;
  return pass.record(std::move(y),
                     [this, saved = std::move(saved)](BackwardPass& backward_pass, Tensor grad_y, Tensor other) {
                       backward(backward_pass, saved, std::move(grad_y), std::move(other));
                     });
}

void BatchNorm::backward(BackwardPass& pass, const Saved& saved, Tensor grad_y, Tensor other) {
  const auto& [shape, x, mean, inverse_std, relu, addend_id, normalisation, output] = saved;
  const bool collects = collects_samples(pass);
  // grad_addend is the gradient before the epilogue. kept: it is used after the kernels. written: a kernel stores it. It
  // is not stored if it equals grad_y, or if it is not used later and the kernels recompute the sign from beta.
  const bool kept = collects || addend_id >= 0;
  const bool written = other.defined() || output.defined() || (relu && kept);
  const auto values_of = [](const Tensor& tensor) { return tensor.defined() ? tensor.values() : kernels::Values(); };
  kernels::BatchNormBackward arrays{.x = x.value.values(),
                                    .gamma = gamma_.value.f32(),
                                    .mean = mean.f32(),
                                    .inverse_std = inverse_std.f32(),
                                    .grad_y = grad_y.values(),
                                    .other_grad_y = values_of(other),
                                    .relu_beta = relu && !output.defined() ? beta_.value.f32() : nullptr,
                                    .relu_output = values_of(output),
                                    .grad_gamma = pass.gradient_sum(gamma_),
                                    .grad_beta = pass.gradient_sum(beta_),
                                    .gamma_second_moment = pass.second_moment(gamma_),
                                    .beta_second_moment = pass.second_moment(beta_),
                                    .grad_x = nullptr};
  std::vector<Tensor> reusable;  // nothing else holds them
  if (written || !kept)
    for (Tensor* gradient : {&other, &grad_y})
      if (gradient->sole_owner()) reusable.push_back(std::move(*gradient));
  const auto place = [&] {
    if (reusable.empty()) return gradient_of(pass.context, x.value);
    Tensor tensor = std::move(reusable.back());
    reusable.pop_back();
    return tensor;
  };
  Tensor grad_addend = written ? place() : std::move(grad_y);
  Tensor grad_x = written && !kept ? grad_addend : place();
  if (written) arrays.grad_addend = grad_addend.values();
  arrays.grad_x = grad_x.values();
  kernels::batch_norm_backward(pass.context.queue, shape, arrays);

  if (collects) collect(pass, {shape, x.value, mean, inverse_std, grad_addend, gamma_, beta_});
  pass.add_gradient(addend_id, std::move(grad_addend));
  if (pass.statistics.center_normalised) {
    NSGD_CHECK(normalisation,
               "batch_norm '{}': contributions are centred for a linear layer or a convolution right before it in one "
               "sequence, and there is none",
               name());
    *normalisation = {x.value, mean, inverse_std, shape.group};
  }
  pass.add_gradient(x.id, std::move(grad_x));
}

Variable BatchNorm::normalise_by_running_statistics(const Forward& pass, Variable x, const Epilogue& epilogue) {
  NSGD_CHECK(!pass.tape, "batch_norm '{}': gradients through running statistics are not defined; use training mode",
             name());
  const Tensor& addend = epilogue.addend.value;
  Tensor y = x.value.sole_owner()  ? x.value
             : addend.sole_owner() ? addend
                                   : pass.output(x.value.shape());
  kernels::batch_norm_inference(pass.context.queue,
                                {.rows = x.value.elements() / channels_,
                                 .channels = channels_,
                                 .epsilon = options_.epsilon,
                                 .gamma = gamma_.value.f32(),
                                 .beta = beta_.value.f32(),
                                 .running_mean = running_mean_.value.f32(),
                                 .running_variance = running_variance_.value.f32(),
                                 .epilogue = arrays_of(epilogue)},
                                x.value.values(), y.values());
  return {std::move(y)};
}

std::string BatchNorm::describe(Graph& graph, const std::string& input) const {
  GraphNode node{name(), "batch_norm", {input}, output_shape()};
  node.attributes = {{"channels", channels_},
                     {"epsilon", options_.epsilon},
                     {"momentum", options_.momentum},
                     {"ghost_size", options_.ghost_size ? Attribute(*options_.ghost_size) : nullptr}};
  node.parameters = {&gamma_, &beta_};
  node.flops = 4 * output_shape().elements();
  return graph.add(std::move(node));
}

}  // namespace noisysgd
