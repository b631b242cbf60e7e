#include <noisysgd/layers/batch_norm.h>

#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/layers/deferred.h>
#include <noisysgd/layers/normalisation.h>
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

// Whether 3x3 convolutions of x's shape compute parts of the passes.
bool is_beside_convolutions(const Forward& pass, const Tensor& x, int64_t group) {
  const Shape& s = x.shape();
  if (!pass.tape || x.dtype() != DType::f16 || s.rank() != 4) return false;
  return kernels::conv_block_takes(pass.context.queue, {{s[0], s[1], s[2], s[3], s[3], 3, 3, 1, 1, 1, 1}, group});
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
  std::shared_ptr<Deferred> deferred = nullptr;  // the output, if it is deferred

  Tensor output_of_sum() const { return deferred && deferred->is_sum ? deferred->value : output; }
  // Whether the convolution before applies the factors of the gradient.
  bool passes_factors() const { return normalisation && normalisation->takes_factors; }
};

Variable BatchNorm::forward_fused(const Forward& pass, Variable x, Epilogue epilogue) {
  if (!pass.training) return normalise_by_running_statistics(pass, std::move(x), epilogue);

  const int64_t samples = x.value.shape()[0], group = ghost_batch(samples);
  NSGD_CHECK(samples % group == 0, "batch_norm '{}': {} samples are not a multiple of the ghost size {}", name(),
             samples, group);
  NSGD_CHECK(group * positions_ > 1, "batch_norm '{}': one value per channel has no variance; use a larger batch",
             name());
  const kernels::BatchNormShape shape{samples, positions_, channels_, group};
  if (is_beside_convolutions(pass, x.value, group))
    return forward_with_convolutions(pass, shape, std::move(x), std::move(epilogue));

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

  Saved saved{shape,
              std::move(x),
              std::move(mean),
              std::move(inverse_std),
              epilogue.relu,
              epilogue.addend.id,
              std::move(epilogue.normalisation)};
  if (epilogue.relu && epilogue.addend.value.defined()) saved.output = y;
  return record(pass, std::move(y), std::move(saved));
}

Variable BatchNorm::record(const Forward& pass, Tensor y, Saved saved) {
  return pass.record(std::move(y),
                     [this, saved = std::move(saved)](BackwardPass& backward_pass, Tensor grad_y, Tensor other) {
                       backward(backward_pass, saved, std::move(grad_y), std::move(other));
                     });
}

Variable BatchNorm::forward_with_convolutions(const Forward& pass, const kernels::BatchNormShape& shape, Variable x,
                                              Epilogue epilogue) {
  Context& context = pass.context;
  const auto constants = [&] { return Tensor(context, {shape.groups(), channels_}); };
  const auto y = std::make_shared<Deferred>(Deferred{shape, x.value, constants(), constants(), constants(), constants(),
                                                     gamma_, beta_, epilogue.relu, epilogue.addend.value.defined(),
                                                     epilogue.addend.value});
  const kernels::BatchNormStatistics statistics{.epsilon = options_.epsilon,
                                                .gamma = gamma_.value.f32(),
                                                .beta = beta_.value.f32(),
                                                .momentum = options_.momentum,
                                                .running_mean = running_mean_.value.f32(),
                                                .running_variance = running_variance_.value.f32(),
                                                .mean = y->mean.f32(),
                                                .inverse_std = y->inverse_std.f32(),
                                                .factor = y->factor.f32(),
                                                .term = y->term.f32()};
  const auto& before = epilogue.normalisation;
  if (before && before->block_mean.defined()) {
    kernels::batch_norm_merge_statistics(context.queue, shape, before->blocks(), statistics);
    before->block_mean = before->block_m2 = {};
  } else {
    kernels::batch_norm_statistics(context.queue, shape, statistics, x.value.values());
  }
  Saved saved{shape, std::move(x), y->mean, y->inverse_std, epilogue.relu, epilogue.addend.id, before};
  if (epilogue.relu) saved.deferred = y;  // otherwise backward would hold the value, which it does not read
  Variable result = record(pass, Tensor::unwritten(y->x.shape(), y->x.dtype()), std::move(saved));
  result.deferred = y;
  return epilogue.relu ? result : written(context, std::move(result));
}

// Of a normalisation's backward pass.
struct BatchNorm::Gradients {
  Tensor addend;  // of the ReLU's input and the addend; undefined if it is not used after the kernels
  Tensor x;       // of the input; or `addend`, if the convolution before applies the factors
};

void BatchNorm::backward(BackwardPass& pass, const Saved& saved, Tensor grad_y, Tensor other) {
  const auto& [shape, x, mean, inverse_std, relu, addend_id, normalisation, output, deferred] = saved;
  const bool collects = collects_samples(pass), kept = collects || addend_id >= 0 || saved.passes_factors();
  if (saved.passes_factors()) normalisation->factors = Tensor(pass.context, {3, shape.groups(), channels_});
  const bool summed = deferred && deferred->gradient_sums.defined();
  Gradients gradients = summed ? gradients_of_sums(pass, saved, std::move(grad_y), kept)
                               : gradients_of_sweeps(pass, saved, std::move(grad_y), std::move(other), kept);
  if (collects) collect(pass, {shape, x.value, mean, inverse_std, gradients.addend, gamma_, beta_});
  pass.add_gradient(addend_id, std::move(gradients.addend));
  if (pass.statistics.center_normalised) {
    NSGD_CHECK(normalisation,
               "batch_norm '{}': contributions are centred for a linear layer or a convolution right before it in one "
               "sequence, and there is none",
               name());
    normalisation->z = x.value;
    normalisation->mean = mean;
    normalisation->inverse_std = inverse_std;
  }
  pass.add_gradient(x.id, std::move(gradients.x));
}

BatchNorm::Gradients BatchNorm::gradients_of_sums(BackwardPass& pass, const Saved& saved, Tensor gradient, bool kept) {
  const Tensor sums = std::move(saved.deferred->gradient_sums);
  saved.deferred->gradient_sums = {};
  const bool passes = saved.passes_factors();
  const Tensor factors =
      passes ? saved.normalisation->factors : Tensor(pass.context, {3, saved.shape.groups(), channels_});
  kernels::batch_norm_merge_gradients(pass.context.queue, saved.shape,
                                      {.sums = sums.f32(),
                                       .parts = sums.shape()[1],
                                       .gamma = gamma_.value.f32(),
                                       .mean = saved.mean.f32(),
                                       .inverse_std = saved.inverse_std.f32(),
                                       .grad_gamma = pass.gradient_sum(gamma_),
                                       .grad_beta = pass.gradient_sum(beta_),
                                       .gamma_second_moment = pass.second_moment(gamma_),
                                       .beta_second_moment = pass.second_moment(beta_),
                                       .factors = factors_in(factors)});
  if (passes) return {gradient, gradient};
  Tensor grad_x = kept ? gradient_of(pass.context, saved.x.value) : output_over(pass.context, gradient);
  kernels::batch_norm_input_gradient(pass.context.queue, saved.shape, factors_in(factors), saved.x.value.values(),
                                     gradient.values(), grad_x.values());
  return {std::move(gradient), std::move(grad_x)};
}

BatchNorm::Gradients BatchNorm::gradients_of_sweeps(BackwardPass& pass, const Saved& saved, Tensor grad_y, Tensor other,
                                                    bool kept) {
  const Tensor output = saved.output_of_sum();
  // A kernel stores that gradient, unless it equals grad_y, or it is not used later and the kernels recompute the sign
  // from beta.
  const bool written = other.defined() || output.defined() || (saved.relu && kept);
  const auto values_of = [](const Tensor& tensor) { return tensor.defined() ? tensor.values() : kernels::Values(); };
  kernels::BatchNormBackward arrays{.x = saved.x.value.values(),
                                    .gamma = gamma_.value.f32(),
                                    .mean = saved.mean.f32(),
                                    .inverse_std = saved.inverse_std.f32(),
                                    .grad_y = grad_y.values(),
                                    .other_grad_y = values_of(other),
                                    .relu_beta = saved.relu && !output.defined() ? beta_.value.f32() : nullptr,
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
    if (reusable.empty()) return gradient_of(pass.context, saved.x.value);
    Tensor tensor = std::move(reusable.back());
    reusable.pop_back();
    return tensor;
  };
  Gradients gradients{written ? place() : std::move(grad_y), {}};
  if (written) arrays.grad_addend = gradients.addend.values();
  if (saved.passes_factors()) {
    gradients.x = gradients.addend;
    arrays.factors = factors_in(saved.normalisation->factors);
  } else {
    gradients.x = written && !kept ? gradients.addend : place();
    arrays.grad_x = gradients.x.values();
  }
  kernels::batch_norm_backward(pass.context.queue, saved.shape, arrays);
  return gradients;
}

Variable BatchNorm::normalise_by_running_statistics(const Forward& pass, Variable x, const Epilogue& epilogue) {
  NSGD_CHECK(!pass.tape, "batch_norm '{}': gradients through running statistics are not defined; use training mode",
             name());
  const Tensor& addend = epilogue.addend.value;
  Tensor y = x.value.sole_owner() ? x.value : addend.sole_owner() ? addend : pass.output(x.value.shape());
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
