// A network with its loss: what an optimizer trains. Owns the layers and binds their parameters into one arena.
#pragma once

#include <memory>

#include "kernels/softmax_cross_entropy.h"
#include "layers/layer.h"

namespace noisysgd {

struct Batch {
  Tensor images;          // [M,H,W,C], as the network sees them
  Tensor labels;          // [M] i32
  Tensor sample_weights;  // [M] or undefined: all 1

  int64_t size() const { return images.shape()[0]; }
  Batch rows(int64_t begin, int64_t end) const;
};

// Beside the gradient pass over the given labels, or instead of their second moment: where the Fisher statistics come
// from.
enum class FisherLabels { data, sampled };

// Labels of a pass that is run for the noise: its gradients are those at random labels minus their mean over labels.
enum class NoiseLabels {
  fisher,   // none of that: the gradients that F is made of
  uniform,  // each class with the same probability
  model,    // drawn from the prediction
};

struct AccumulateOptions {
  uint64_t seed = 0;
  StepNumber step = 0;
  int64_t sample_offset = 0;  // of this micro-batch in its batch
  Statistics statistics;
  // sampled: statistics from labels drawn from the prediction, one more backward.
  FisherLabels fisher_labels = FisherLabels::data;
  Tensor sampled_labels;  // [M] i32, written if defined and labels are sampled
  // [M]: one more backward adds sum_n u_n g_n to the parameters' noise sums; undefined: none.
  Tensor noise_weights;
  NoiseLabels noise_labels = NoiseLabels::fisher;
  StepNumber noise_step = 0;  // of the stream of these labels
  // One more backward adds sum_n sigma_n g_n, with a sign for each sample and layer, to one tensor for each parameter,
  // shaped like it; null: none.
  const std::vector<Tensor>* block_draw = nullptr;
  Tensor logits;  // [M,K], written if defined
};

class Model {
 public:
  Model(Context& context, std::unique_ptr<Layer> network, int64_t classes, float label_smoothing = 0);

  // Forward and backward: adds sum_n w_n grad l_n and the statistics to the parameters' sums, and the losses to *sums
  // on the device. Statistics of the data's labels are those of the weighted gradients w_n g_n: whoever wants the plain
  // ones gives the weights w_n - 1 as noise_weights instead.
  void accumulate(const Batch& batch, const AccumulateOptions& options, kernels::LossSums* sums);
  kernels::LossSums accumulate(const Batch& batch, const AccumulateOptions& options);  // the same, and waits for them

  // Inference: running statistics, no dropout.
  Tensor logits(const Tensor& images);
  void evaluate(const Batch& batch, kernels::LossSums* sums);  // added to *sums, on the device

  // Name of the first layer whose output holds a NaN or Inf for this batch in training mode; empty if none does.
  std::string first_nonfinite_layer(const Batch& batch, uint64_t seed, StepNumber step);

  const SampleCoupling& coupling() const { return coupling_; }  // of the network
  Graph graph() const;
  ParameterArena& arena() { return arena_; }
  const std::vector<Parameter*>& parameters() const { return arena_.parameters(); }
  const std::vector<Buffer*>& buffers() const { return buffers_; }
  Layer& network() { return *network_; }
  Context& context() const { return context_; }
  int64_t classes() const { return classes_; }

 private:
  void accumulate_ghost_batches(const Batch& batch, const AccumulateOptions& options, kernels::LossSums* sums);
  void sample_labels(const Tensor& logits, const RandomStream& stream, int64_t offset, const Tensor& labels);

  Context& context_;
  std::unique_ptr<Layer> network_;
  int64_t classes_;
  float label_smoothing_;
  SampleCoupling coupling_;
  std::vector<Buffer*> buffers_;
  ParameterArena arena_;
};

}  // namespace noisysgd
