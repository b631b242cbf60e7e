// The interface of every layer. forward records one tape node, which owns the tensors that backward needs. Shapes are
// those of one sample: [H,W,C] for images and [features] for vectors.
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
  int64_t sample_offset = 0;  // of this micro-batch in its batch: keeps random masks independent of micro-batches
  DType images = DType::f32;  // in which values [N,H,W,C] are stored; f16 on a CUDA device, for training
  // If set, is called with the name and output of every layer, after its epilogue. An output with an addend is reported
  // once, as the output of the residual block. Used to find the first layer with a NaN.
  std::function<void(const std::string& name, const Tensor& output)> observe = nullptr;

  // A new tensor for a value between layers.
  Tensor output(Shape shape) const {
    const DType dtype = shape.rank() == 4 ? images : DType::f32;
    return Tensor(context, std::move(shape), dtype);
  }
  // Records `backward` if there is a tape; otherwise returns the value without a tape node.
  template <class Backward>
  Variable record(Tensor value, Backward backward) const {
    return tape ? tape->record(std::move(value), std::move(backward)) : Variable{std::move(value)};
  }
};

struct Normalisation;  // layers/normalisation.h
struct Dual;           // layers/dual.h
struct DualForward;
struct ChannelMap;  // layers/fold.h

// Operations fused into the kernel that writes the output y of a layer, max(0, y + addend), and into the backward
// kernel that reads the gradient of the result.
struct Epilogue {
  Variable addend = {};  // without a value: none
  bool relu = false;
  // Not an operation: what a layer and the batch normalisation that is the only reader of its output tell each other.
  // Both hold the pointer; null: there is no such pair.
  std::shared_ptr<Normalisation> normalisation = nullptr;

  bool empty() const { return !addend.value.defined() && !relu && !normalisation; }
};

// The epilogue operations that a layer supports, alone or combined. normalisation: it reads Epilogue::normalisation.
struct FusibleEpilogue {
  bool addend = false, relu = false, normalisation = false;
};

// Returns `tensor` itself, to be overwritten, if nothing else holds its memory; else a new tensor of its shape and
// type.
inline Tensor output_over(Context& context, const Tensor& tensor) {
  return tensor.sole_owner() ? tensor : Tensor(context, tensor.shape(), tensor.dtype());
}
// A new tensor for the gradient of a value.
inline Tensor gradient_of(Context& context, const Tensor& value) {
  return Tensor(context, value.shape(), gradient_type(value.dtype()));
}

class Layer {
 public:
  // Throws Error for an output that is empty or has more than most_elements.
  Layer(std::string name, Shape input, Shape output);
  virtual ~Layer() = default;

  const std::string& name() const { return name_; }
  const Shape& input_shape() const { return input_; }
  const Shape& output_shape() const { return output_; }

  // Checks the shape of the input, then computes. Move x into the call if it is not needed again: an op may then reuse
  // its memory. Throws Error for an epilogue that is not in fuses().
  Variable forward(const Forward& pass, Variable x, Epilogue epilogue = {});
  virtual FusibleEpilogue fuses() const { return {}; }
  // Values with their derivatives in one direction, in inference: what products with curvature matrices are made of.
  // Throws Error for a layer that neither overrides this nor is_linear().
  virtual Dual forward_dual(const DualForward& pass, Dual x);
  // Whether the output is in inference a linear function of the input, without parameters.
  virtual bool is_linear() const { return false; }
  // Whether the layer is max(0, x), and may become the epilogue of the layer before it.
  virtual bool is_relu() const { return false; }
  // The samples of a ghost batch, of a batch of `samples`. 0: the layer is not a batch normalisation and has no
  // Epilogue::normalisation for the layer before it.
  virtual int64_t ghost_batch(int64_t /*samples*/) const { return 0; }
  // Whether inputs, and the addend of the epilogue, may be deferred (layers/deferred.h).
  virtual bool reads_deferred() const { return false; }
  // Puts batch normalisations, as they are in inference, into the layers before them. before: the one whose output this
  // layer alone reads; null: there is none. Returns the layer that the next one reads, which is `before` if nothing is
  // left of this one. Throws Error for a batch normalisation that no layer takes.
  virtual Layer* fold_batch_norm(Context&, Layer* /*before*/) { return this; }
  // Takes this map of the output into the layer's own parameters. False: it has none to take it.
  virtual bool absorb(Context&, const ChannelMap&) { return false; }
  // Appends the layers of a sequence; any other layer appends itself.
  virtual void append_to(std::vector<Layer*>& sequence) { sequence.push_back(this); }

  virtual std::vector<Parameter*> parameters() { return {}; }
  virtual std::vector<Buffer*> buffers() { return {}; }
  // How the samples of a training batch depend on each other.
  virtual SampleCoupling coupling() const { return {}; }

  // Appends this layer's nodes to the graph; `input` names the node that feeds it. Returns the name of its output node.
  virtual std::string describe(Graph& graph, const std::string& input) const = 0;

 private:
  virtual Variable forward_impl(const Forward& pass, Variable x) = 0;
  // forward_impl with an epilogue that is not empty. Layers with fuses() must override it.
  virtual Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue);

  std::string name_;
  Shape input_, output_;
};

}  // namespace noisysgd
