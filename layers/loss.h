// Loss functions: the loss of each sample and its gradient with respect to the scores (logits) of the network.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include <noisysgd/core/registry.h>
#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>
#include <noisysgd/layers/graph.h>

namespace noisysgd {

// The targets at which the loss of a sample is evaluated.
enum class Targets {
  training,  // its label as used in training, with label smoothing for example
  label,     // the label alone: in evaluations, and for sampled labels
  uniform,   // the mean over all labels with equal weights; used only with losses that sample labels
};

struct LossCall {
  Context& context;
  const Tensor& logits;  // [M,K]
  const Tensor& labels;  // [M] i32
  Targets targets = Targets::training;
  Tensor weights = {};               // [M]; undefined: all 1
  Tensor gradient = {};              // [M,K], overwritten by w_n dl_n/dlogits_n; undefined: not computed
  kernels::LossSums* sums = nullptr;  // device pointer, added to; null: not computed
};

struct CurvatureCall {
  Context& context;
  const Tensor& logits;  // [M,K]
  const Tensor& labels;  // [M] i32
  Targets targets;
  const Tensor& tangent;  // [M,K]
  const Tensor& product;  // [M,K] overwritten by (d2 l_n / dlogits2) tangent_n
};

// A loss has no state: all passes of all runs share one object.
class Loss {
 public:
  virtual ~Loss() = default;
  // Throws Error for a device that the loss does not support.
  virtual void check(const Device&) const {}
  virtual void evaluate(const LossCall& call) const = 0;
  // Throws Error unless overridden.
  virtual void curvature(const CurvatureCall& call) const;
  // True if the logits define label probabilities. The true Fisher matrix and label noise sample labels from these.
  virtual bool samples_labels() const { return false; }
  // Writes labels [M] i32. Label n is a function of (stream, offset + n) and of its logits; equal logits give all
  // classes the same probability. Throws Error unless overridden.
  virtual void sample_labels(Context& context, const Tensor& logits, const RandomStream& stream, int64_t offset,
                             const Tensor& labels) const;
  // Adds its node, "loss", to the graph; `scores` is the name of the node that outputs the scores.
  virtual void describe(Graph& graph, const std::string& scores) const = 0;
};

// Base class for user-defined losses on the CPU: a subclass implements the formula for one sample.
class SampleLoss : public Loss {
 public:
  void check(const Device& device) const override;
  void evaluate(const LossCall& call) const override;

 private:
  // Returns l, and writes dl/dlogits to `gradient` unless it is empty. Called from several threads; must not throw.
  virtual double sample_loss(std::span<const float> logits, int32_t label, Targets targets,
                             std::span<float> gradient) const = 0;
};

// l = -sum_k q_k log softmax(z)_k, q = (1-smoothing) onehot(label) + smoothing/K. Targets::label: without smoothing.
class SoftmaxCrossEntropy : public Loss {
 public:
  explicit SoftmaxCrossEntropy(float label_smoothing = 0) : label_smoothing_(label_smoothing) {}
  static std::unique_ptr<Loss> read(const ConfigReader& json);

  void evaluate(const LossCall& call) const override;
  void curvature(const CurvatureCall& call) const override;
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
  // Builds {"type": …, …}. Invalid values are recorded in the reader.
  std::shared_ptr<const Loss> build(const ConfigReader& json) const {
    return at(read_type(json, "softmax_cross_entropy"))(json);
  }
};

}  // namespace noisysgd
