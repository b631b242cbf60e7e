// Trainable tensors and buffers. A layer declares its parameters by name and shape; ParameterSet then lays their values
// out in one block, so that the optimizer is one pass over memory. Whatever else is kept for each parameter is a Block of
// the same layout (core/block.h) and belongs to whoever uses it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <noisysgd/core/initialisation.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd {

// How a parameter's memory order relates to PyTorch's.
enum class ParameterLayout {
  same,
  krsc,  // [K,R,S,C] here, [K,C,R,S] (OIHW) at import and export
};

struct Parameter;

// K-FAC (Martens & Grosse 2015; Grosse & Martens 2016) takes the Fisher block of a layer's weight [outputs, inputs] and
// bias for a product of two covariances. A layer that gives them (core/sums.h) points its parameters here.
struct KroneckerShape {
  const Parameter* weight = nullptr;
  const Parameter* bias = nullptr;  // or null; its input, a constant 1, is the last of `inputs`
  int64_t inputs = 0, outputs = 0, positions = 1;
};

struct Parameter {
  std::string name;  // "conv1.weight"
  Shape shape;
  Initialisation initialisation = {};
  ParameterLayout layout = ParameterLayout::same;
  int64_t positions = 1;  // output positions that share this weight: the T of the spatial estimators

  // What its layer can collect (core/statistics.h) beside gradient and second moment.
  const KroneckerShape* kronecker = nullptr;
  bool gives_sample_statistics = false;  // what layers/weight_gradient.h collects of samples, as Statistics::signs
  bool gives_signed_squares = false;     // SignedSums::squares
  bool gives_centered_squares = false;   // Statistics::center_normalised

  // Filled by ParameterSet.
  Tensor value{};
  uint32_t index = 0;  // position in the set: the tensor word of its random streams
  int64_t offset = 0;  // of its first element in every Block

  Shape exported_shape() const;  // PyTorch's
};

// State that is not trained: running statistics.
struct Buffer {
  std::string name;
  Shape shape;
  float initial = 0;
  Tensor value{};  // filled by bind_buffers
};

// Allocates the buffers with their initial values.
void bind_buffers(Context& context, const std::vector<Buffer*>& buffers);

class ParameterSet {
 public:
  // Binds the parameters (which must outlive the set) in order; names must be unique.
  ParameterSet(Context& context, std::vector<Parameter*> parameters);

  const std::vector<Parameter*>& list() const { return list_; }
  int64_t elements() const { return elements_; }  // trainable scalars
  int64_t padded() const { return padded_; }      // with the padding between tensors: the size of a Block
  // All values, [padded].
  const Tensor& values() const { return values_; }
  // Exchanges them for other memory of that size, of which views[i] is what belongs to list()[i].
  void exchange_values(Tensor& values, std::vector<Tensor>& views) noexcept;

  // Values as a function of the seed and each parameter's index.
  void initialise(uint64_t seed);

 private:
  Context& context_;
  std::vector<Parameter*> list_;
  int64_t elements_ = 0, padded_ = 0;
  Tensor values_;
};

// Copies between memory order and PyTorch's (float arrays of parameter.shape.elements() elements).
void to_exported_layout(const Parameter& parameter, const float* internal, float* exported);
void from_exported_layout(const Parameter& parameter, const float* exported, float* internal);

}  // namespace noisysgd
