// Tape autograd. Layers compute values eagerly and record one node each; the closure of a node owns the tensors that
// its backward needs. Backward walks the tape in reverse, and a node with parameters computes its gradient and the
// requested statistics in the same kernel. A value is freed as soon as no closure and no caller holds it, a gradient as
// soon as its node has run.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include <noisysgd/core/statistics.h>
#include <noisysgd/core/sums.h>

namespace noisysgd {

struct Deferred;  // layers/deferred.h

// A value on the tape. `id` is -1 for values through which no gradient flows. If `deferred` is not null the value has not
// been written, and `value` has only its shape and type: Layer::forward writes it for every layer that does not read
// deferred values.
struct Variable {
  Tensor value;
  int id = -1;
  std::shared_ptr<Deferred> deferred = nullptr;
  bool needs_gradient() const { return id >= 0; }
};

class BackwardPass;

class Tape {
 public:
  // Called once per backward pass with the gradient of the node's output, which it may overwrite. Passes gradients to
  // the node's inputs by BackwardPass::add_gradient, and adds those of parameters to the sums of the pass.
  using Backward = std::function<void(BackwardPass& pass, Tensor grad_output)>;
  // As Backward, for an op whose kernel adds two gradients of its output itself. other: undefined if only one arrived.
  // Of three or more the tape adds all but the last.
  using BackwardOfTwo = std::function<void(BackwardPass& pass, Tensor grad_output, Tensor other)>;

  // An input that needs a gradient, which is gradient(variable) after backward.
  Variable leaf(Tensor value);
  // The result of an op. Every op that has parameters, or an input that needs a gradient, is recorded.
  Variable record(Tensor value, Backward backward);
  Variable record(Tensor value, BackwardOfTwo backward);

  struct BackwardOptions {
    Statistics statistics = {};
    Sums into = {};             // where parameters add their statistics
    SampleStream samples = {};  // for random signs
    bool retain = false;        // keep the closures, so that backward can run again with another seed
  };
  // Walks back from `output`, whose gradient is `seed`.
  void backward(Context& context, const Variable& output, Tensor seed, const BackwardOptions& options);

  // Gradient that reached a leaf; undefined if none did.
  const Tensor& gradient(const Variable& variable) const;

 private:
  friend class BackwardPass;
  struct Node {
    BackwardOfTwo backward;  // empty for a leaf
    bool adds_two;           // true: the op adds two gradients itself
    Shape shape;
    DType type;  // of the gradient
    Tensor gradient = {}, other = {};
  };
  std::vector<Node> nodes_;
};

class BackwardPass {
 public:
  BackwardPass(Context& context, Tape& tape, const Tape::BackwardOptions& options)
      : context(context),
        statistics(options.statistics),
        into(options.into),
        samples(options.samples),
        tape_(tape),
        retain_(options.retain) {}

  // Address to which a parameter adds sum_n g_n, in its own shape; null: not collected in this pass, or frozen.
  float* gradient_sum(const Parameter& parameter) const {
    return parameter.frozen ? nullptr : into.gradient.at(parameter);
  }
  // The same for sum_n g_n^2, by the estimator statistics.second_moment.
  float* second_moment(const Parameter& parameter) const {
    const bool left_out = parameter.frozen || (statistics.factors_replace_second_moment && parameter.kronecker);
    return statistics.second_moment == SecondMoment::none || left_out ? nullptr : into.second_moment.at(parameter);
  }

  // Adds `gradient` (consumed) to the gradient of the variable with this id; ids below 0 are ignored. It has the
  // variable's shape and the gradient_type of its elements.
  void add_gradient(int id, Tensor gradient);
  // Takes away what has been added to the gradient of the variable with this id; undefined: nothing. For an op that
  // adds to that gradient itself, and then passes the result to add_gradient.
  Tensor take_gradient(int id);
  // For the last use of a saved tensor: its memory can be freed before the closure ends.
  Tensor last_use(Tensor& saved) const { return retain_ ? saved : std::move(saved); }

  Context& context;
  const Statistics& statistics;
  const Sums& into;
  const SampleStream& samples;

 private:
  friend class Tape;
  Tensor sum(Tensor a, Tensor b);  // overwrites a or b if nothing else holds it
  Tape& tape_;
  bool retain_;
};

}  // namespace noisysgd
