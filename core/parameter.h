// Parameters and buffers. A layer declares its parameters by name and shape; ParameterSet places all values in
// one array, over which the optimizer makes one pass. Other data with one value per parameter element is kept in a
// Block of the same layout (core/block.h).
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

// K-FAC (Martens & Grosse 2015; Grosse & Martens 2016) approximates the Fisher block of a layer's weight
// [outputs, inputs] and bias by a Kronecker product of two covariances. A layer that collects them (core/sums.h) sets
// Parameter::kronecker of its weight and bias.
struct KroneckerShape {
  const Parameter* weight = nullptr;
  const Parameter* bias = nullptr;  // null: none. Its input is a constant 1, the last of `inputs`
  int64_t inputs = 0, outputs = 0, positions = 1;
};

struct Parameter {
  std::string name;  // "conv1.weight"
  Shape shape;
  Initialisation initialisation = {};
  ParameterLayout layout = ParameterLayout::same;
  int64_t positions = 1;  // output positions that share this weight: the T of the spatial estimators

  // What its layer can collect (core/statistics.h) in addition to the gradient and the second moment.
  const KroneckerShape* kronecker = nullptr;
  bool gives_sample_statistics = false;  // Statistics::signs and Sums::sample_norms
  bool gives_signed_squares = false;     // SignedSums::squares
  bool gives_centered_squares = false;   // Statistics::center_normalised

  bool frozen = false;  // gets no gradient, no statistics, no noise and no update; set before a run's Step is made

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
  std::vector<Parameter*> trained() const;        // those of list() that are not frozen: what an optimizer steps over
  int64_t elements() const { return elements_; }  // scalars of list()
  int64_t padded() const { return padded_; }      // elements of a Block: includes the padding between tensors
  // All values, [padded].
  const Tensor& values() const { return values_; }
  // Swaps values() with `values`, which has the same size, and list()[i]->value with views[i], the view of `values`.
  void exchange_values(Tensor& values, std::vector<Tensor>& views) noexcept;

  // Draws the values, which depend only on each parameter's Initialisation and index and on the seed.
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
