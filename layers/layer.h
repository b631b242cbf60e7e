// The interface of every layer: forward records one tape node that owns what backward needs; shapes are those of one
// sample, [H,W,C] for images and [features] for vectors.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <noisysgd/core/autograd.h>
#include <noisysgd/core/parameter.h>
#include <noisysgd/layers/graph.h>
#include <noisysgd/layers/sample_coupling.h>

namespace noisysgd {

// One forward pass over a batch or micro-batch.
struct Forward {
  Context& context;
  Tape* tape = nullptr;  // null: inference, nothing is recorded
  bool training = false;
  uint64_t seed = 0;
  StepNumber step = 0;
  int64_t sample_offset = 0;  // of this micro-batch in its batch, so that random masks do not depend on micro-batching
  // Called, when set, with the name and output of every layer, after its epilogue; a sum in an epilogue is the output
  // of the residual block, which alone is called with it. Used to name the first layer that shows a NaN.
  std::function<void(const std::string& name, const Tensor& output)> observe = nullptr;

  // Records `backward` if there is a tape; otherwise the value stands alone.
  template <class Backward>
  Variable record(Tensor value, Backward backward) const {
    return tape ? tape->record(std::move(value), std::move(backward)) : Variable{std::move(value)};
  }
};

struct Normalisation;  // layers/centered_sums.h

// What a layer does with its output y in the sweep that writes it, max(0, y + addend), and with the gradient of that in
// the sweep of backward that reads it.
struct Epilogue {
  Variable addend = {};  // without a value: none
  bool relu = false;
  // Shared by a layer and the batch normalisation that alone reads its output; null: there is no such pair. The latter
  // sets it in backward, before backward of the former, if Statistics::center_normalised.
  std::shared_ptr<Normalisation> normalisation = nullptr;

  bool empty() const { return !addend.value.defined() && !relu && !normalisation; }
};

// What a layer can do in its epilogue, alone or together, and whether it asks how its output is normalised.
struct FusibleEpilogue {
  bool addend = false, relu = false, normalisation = false;
};

// The tensor itself if it is there and nothing else holds its memory, which may then be overwritten; or a new one.
inline Tensor output_over(Context& context, const Tensor& tensor, const Shape& shape) {
  return tensor.sole_owner() ? tensor : Tensor(context, shape);
}

class Layer {
 public:
  // Throws Error for an output that is empty or has more than most_elements.
  Layer(std::string name, Shape input, Shape output);
  virtual ~Layer() = default;

  const std::string& name() const { return name_; }
  const Shape& input_shape() const { return input_; }
  const Shape& output_shape() const { return output_; }

  // Checks the input's shape, then computes. Pass x by move where it is not needed again: an op may then reuse its
  // memory. Throws Error for an epilogue that is not in fuses().
  Variable forward(const Forward& pass, Variable x, Epilogue epilogue = {});
  virtual FusibleEpilogue fuses() const { return {}; }
  // Whether the layer is max(0, x), and may become the epilogue of the layer before it.
  virtual bool is_relu() const { return false; }
  // Whether the layer tells the one before it how it normalises (Epilogue::normalisation).
  virtual bool is_batch_norm() const { return false; }
  // Appends the layers that this one is a sequence of: itself, if it is none.
  virtual void append_to(std::vector<Layer*>& sequence) { sequence.push_back(this); }

  virtual std::vector<Parameter*> parameters() { return {}; }
  virtual std::vector<Buffer*> buffers() { return {}; }
  // How the samples of a training batch influence each other.
  virtual SampleCoupling coupling() const { return {}; }

  // Appends this layer's nodes to the graph; `input` names the node that feeds it. Returns the name of its output node.
  virtual std::string describe(Graph& graph, const std::string& input) const = 0;

 private:
  virtual Variable forward_impl(const Forward& pass, Variable x) = 0;
  // As forward_impl with an epilogue that is not empty: for layers with fuses().
  virtual Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue);

  std::string name_;
  Shape input_, output_;
};

}  // namespace noisysgd
