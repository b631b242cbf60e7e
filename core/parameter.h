// Trainable tensors and buffers. A layer declares its parameters by name and shape; ParameterArena then lays values,
// gradient sums, velocities and second moments out in one block each, in the same order, so that the optimizer is one
// pass over memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace noisysgd {

enum class Initialisation { zeros, ones, he_normal };

// How a parameter's memory order relates to PyTorch's.
enum class ParameterLayout {
  same,
  krsc,  // [K,R,S,C] here, [K,C,R,S] (OIHW) at import and export
};

struct Parameter {
  std::string name;  // "conv1.weight"
  Shape shape;
  Initialisation initialisation = Initialisation::zeros;
  int64_t fan_in = 1;  // he_normal: N(0, 2/fan_in)
  ParameterLayout layout = ParameterLayout::same;
  int64_t positions = 1;  // output positions that share this weight: the T of the spatial estimators

  // Filled by ParameterArena. Sums over the samples seen since the last zero_sums.
  Tensor value{};
  Tensor gradient_sum{};   // sum_n g_n
  Tensor second_moment{};  // sum_n g_n^2; undefined unless the arena was made with one
  Tensor velocity{};       // momentum buffer
  uint32_t index = 0;      // position in the arena: the tensor word of its random streams

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

class ParameterArena {
 public:
  // Binds the parameters (which must outlive the arena) in order; names must be unique.
  ParameterArena(Context& context, std::vector<Parameter*> parameters, bool second_moment);

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  int64_t elements() const { return elements_; }  // trainable scalars, without padding between tensors
  bool has_second_moment() const { return second_moment_.defined(); }
  // Allocates the second-moment block if it is not there yet.
  void require_second_moment();

  // Makes backward passes add their gradients to a scratch block instead (true) or to the gradient sums again (false):
  // a pass that is run for its statistics alone leaves the gradient untouched.
  void discard_gradients(bool discard);

  // Values as a function of the seed and each parameter's index; velocities and sums zero.
  void initialise(uint64_t seed);
  void zero_sums();

 private:
  void bind(Tensor Parameter::*member, const Tensor& block);

  Context& context_;
  std::vector<Parameter*> parameters_;
  std::vector<int64_t> offsets_;
  int64_t elements_ = 0, padded_ = 0;
  Tensor value_, gradient_sum_, discarded_, second_moment_, velocity_;
};

// Copies between memory order and PyTorch's (float arrays of parameter.shape.elements() elements).
void to_exported_layout(const Parameter& parameter, const float* internal, float* exported);
void from_exported_layout(const Parameter& parameter, const float* exported, float* internal);

}  // namespace noisysgd
