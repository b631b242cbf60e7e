// What the scores of a network are judged by: a loss of each sample and its gradient with respect to the scores.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include <noisysgd/core/registry.h>
#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>
#include <noisysgd/layers/graph.h>

namespace noisysgd {

// What the loss of a sample is taken at.
enum class Targets {
  training,  // its label, as training takes it: smoothed, say
  label,     // the label alone: in evaluations, and where labels are drawn
  uniform,   // the mean over all labels, each with the same weight; asked of losses that sample labels
};

struct LossCall {
  Context& context;
  const Tensor& logits;  // [M,K]
  const Tensor& labels;  // [M] i32
  Targets targets = Targets::training;
  Tensor weights = {};               // [M], or undefined: all 1
  Tensor gradient = {};              // [M,K] overwritten by w_n dl_n/dlogits_n; undefined: not wanted
  kernels::LossSums* sums = nullptr;  // on the device: added to; null: not wanted
};

// A loss keeps no state: one object serves all passes of all runs.
class Loss {
 public:
  virtual ~Loss() = default;
  // Throws Error for a device that the loss does not know.
  virtual void check(const Device&) const {}
  virtual void evaluate(const LossCall& call) const = 0;
  // True if the logits give each label a probability. The true Fisher matrix and label noise draw labels by it.
  virtual bool samples_labels() const { return false; }
  // labels [M] i32, each a function of (stream, offset + n) and of its logits; equal logits give each class the same
  // probability. Throws Error unless overridden.
  virtual void sample_labels(Context& context, const Tensor& logits, const RandomStream& stream, int64_t offset,
                             const Tensor& labels) const;
  // Adds its node, "loss", to the graph of a network whose scores are those of the node `scores`.
  virtual void describe(Graph& graph, const std::string& scores) const = 0;
};

// A loss of one's own for the processor: the formula of one sample, and the rest is done.
class SampleLoss : public Loss {
 public:
  void check(const Device& device) const override;
  void evaluate(const LossCall& call) const override;

 private:
  // l, and dl/dlogits into `gradient` unless it is empty. Called from several threads; must not throw.
  virtual double sample_loss(std::span<const float> logits, int32_t label, Targets targets,
                             std::span<float> gradient) const = 0;
};

// l = -sum_k q_k log softmax(z)_k, q = (1-smoothing) onehot(label) + smoothing/K; without smoothing at labels alone.
class SoftmaxCrossEntropy : public Loss {
 public:
  explicit SoftmaxCrossEntropy(float label_smoothing = 0) : label_smoothing_(label_smoothing) {}
  static std::unique_ptr<Loss> read(const ConfigReader& json);

  void evaluate(const LossCall& call) const override;
  bool samples_labels() const override { return true; }
  void sample_labels(Context& context, const Tensor& logits, const RandomStream& stream, int64_t offset,
                     const Tensor& labels) const override;
  void describe(Graph& graph, const std::string& scores) const override;

 private:
  float label_smoothing_;
};

using LossBuilder = std::function<std::unique_ptr<Loss>(const ConfigReader& json)>;

class LossRegistry : public Registry<LossBuilder> {
 public:
  LossRegistry() : Registry("a loss") {}
  static LossRegistry builtin();
  // Builds {"type": …, …}. Bad values are noted in the reader.
  std::shared_ptr<const Loss> build(const ConfigReader& json) const {
    return at(read_type(json, "softmax_cross_entropy"))(json);
  }
};

}  // namespace noisysgd
