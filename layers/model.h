// A network with its loss, to be trained by an optimizer. Owns the layers and places their parameters in one array.
#pragma once

#include <memory>
#include <span>

#include <noisysgd/core/state.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>
#include <noisysgd/layers/layer.h>
#include <noisysgd/layers/loss.h>

namespace noisysgd {

struct Batch {
  Tensor images;  // [M,H,W,C], the input of the network
  Tensor labels;  // [M] i32

  int64_t size() const { return images.shape()[0]; }
  Batch rows(int64_t begin, int64_t end) const;
};

// The labels at which the loss of a backward pass is evaluated.
enum class Labels {
  data,     // those of the batch, with Targets::training
  sampled,  // drawn from the prediction, for the true Fisher matrix; all passes over a batch share them
  uniform,  // drawn with equal class probabilities; the mean gradient over labels is subtracted
  model,    // drawn from the prediction, with another random stream than `sampled`
};

// The weighted loss sum_n w_n l_n. Its gradient is the start of a backward pass.
struct LossGradient {
  Labels labels = Labels::data;
  Tensor weights = {};  // [M]; undefined: all 1
};

// One backward pass: the loss, the statistics that layers collect, and the sums to which they add. Statistics whose sum
// is undefined are not computed.
struct BackwardJob {
  LossGradient loss = {};
  Statistics collect = {};
  Sums into = {};
  kernels::LossSums* losses = nullptr;  // device pointer to which the losses are added; null: not added
};

// A forward pass over a batch or micro-batch in training mode.
struct ForwardOptions {
  SampleStream samples = {};   // random numbers of dropout and sampled labels
  StepNumber noise_step = 0;   // replaces samples.step for random signs and for `uniform` and `model` labels
  Tensor logits = {};          // [M,K], written if defined
  Tensor sampled_labels = {};  // [M] i32, written if defined and a job has Labels::sampled
};

class Model {
 public:
  Model(Context& context, std::unique_ptr<Layer> network, int64_t classes,
        std::shared_ptr<const Loss> loss = std::make_shared<SoftmaxCrossEntropy>());

  // The same network with its batch normalisations, at their running statistics, in the weights and biases of the
  // layers before them: the same scores in inference, of fewer parameters. Throws Error for a batch normalisation that
  // follows neither a linear layer nor a convolution.
  Model fold_batch_norm() &&;

  // Freezes the parameters of these names, which then keep their values in training; running statistics go on. Must
  // precede the run's Step. Throws Error for a glob that matches no parameter, and if none is left to train.
  void freeze(const std::vector<std::string>& globs);

  // One forward pass, then each job's backward pass in order.
  void accumulate(const Batch& batch, const ForwardOptions& options, std::span<const BackwardJob> jobs);

  // Inference: with running statistics, without dropout.
  Tensor logits(const Tensor& images);
  Tensor evaluate(const Batch& batch, kernels::LossSums* sums);  // the logits; adds to *sums, a device pointer

  // Name of the first layer whose output holds a NaN or Inf in this forward pass; empty if none does.
  std::string first_nonfinite_layer(const Batch& batch, const ForwardOptions& options);

  // Visits parameter values and buffers under PyTorch's names.
  void visit_state(StateVisitor& visitor) const;

  const SampleCoupling& coupling() const { return coupling_; }  // of the network
  Graph graph() const;
  ParameterSet& parameter_set() { return parameters_; }
  const ParameterSet& parameter_set() const { return parameters_; }
  const std::vector<Parameter*>& parameters() const { return parameters_.list(); }
  const std::vector<Buffer*>& buffers() const { return buffers_; }
  Layer& network() { return *network_; }
  const Loss& loss() const { return *loss_; }
  Context& context() const { return context_; }
  int64_t classes() const { return classes_; }

 private:
  // At Precision::half, values [N,H,W,C] of trainings on a CUDA device are fp16 and their gradients bf16. Inference stores
  // fp32, and so does the CPU.
  Forward training_pass(Tape& tape, const ForwardOptions& options) const;
  Tensor loss_gradient(const Tensor& logits, const BackwardJob& job, const Batch& batch, const Tensor& sampled,
                       const ForwardOptions& options);
  Tensor gradient_at(const Tensor& logits, const Tensor& labels, Targets targets, const Tensor& weights,
                     kernels::LossSums* losses = nullptr);

  Context& context_;
  std::unique_ptr<Layer> network_;
  int64_t classes_;
  std::shared_ptr<const Loss> loss_;
  SampleCoupling coupling_;
  std::vector<Buffer*> buffers_;
  ParameterSet parameters_;
};

}  // namespace noisysgd
