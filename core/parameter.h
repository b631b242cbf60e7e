// Trainable tensors and buffers. A layer declares its parameters by name and shape; ParameterArena then lays values,
// gradient sums, velocities and second moments out in one block each, in the same order, so that the optimizer is one
// pass over memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/initialisation.h"
#include "core/tensor.h"

namespace noisysgd {

// How a parameter's memory order relates to PyTorch's.
enum class ParameterLayout {
  same,
  krsc,  // [K,R,S,C] here, [K,C,R,S] (OIHW) at import and export
};

struct Parameter;

// K-FAC (Martens & Grosse 2015; Grosse & Martens 2016): the Fisher block of a layer's weight [outputs, inputs] and bias
// as a product of two covariances. A layer that gives them points its parameters here.
struct KroneckerFactors {
  const Parameter* weight = nullptr;
  const Parameter* bias = nullptr;  // or null; its input, a constant 1, is the last of `inputs`
  int64_t inputs = 0, outputs = 0, positions = 1;

  // Filled by ParameterArena::require_kronecker_factors.
  Tensor input_sum{};   // [inputs,inputs]: sum_n sum_t a a^T; undefined unless asked for
  Tensor output_sum{};  // [outputs,outputs]: sum_n sum_t delta delta^T
  Tensor input_root{};  // lower Cholesky factors of their means, kept by the noise between refreshes
  Tensor output_root{};
};

struct Parameter {
  std::string name;  // "conv1.weight"
  Shape shape;
  Initialisation initialisation = {};
  ParameterLayout layout = ParameterLayout::same;
  int64_t positions = 1;  // output positions that share this weight: the T of the spatial estimators

  // Filled by ParameterArena. Sums over the samples seen since the last zero_sums.
  Tensor value{};
  Tensor gradient_sum{};                  // sum_n g_n
  Tensor second_moment{};                 // sum_n g_n^2; undefined unless the arena was made with one
  Tensor velocity{};                      // momentum buffer
  Tensor noise_sum{};                     // what backward passes make of the noise; undefined unless asked for
  Tensor noise_variance{};                // the variance over signs of noise_sum; undefined unless asked for
  Tensor fisher_average{};                // diag(F) kept between refreshes; undefined unless asked for
  uint32_t index = 0;                     // position in the arena: the tensor word of its random streams
  KroneckerFactors* kronecker = nullptr;  // of the layer it belongs to, if that gives them
  bool gives_signed_sums = false;         // its layer adds to noise_sum what Statistics::signs asks for
  bool gives_signed_squares = false;      // and to noise_variance
  bool gives_centered_squares = false;    // its layer heeds Statistics::center_normalised

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

// Where backward passes add their gradients.
enum class GradientTarget {
  gradient_sum,
  noise_sum,  // a pass that is run for the noise: needs require_noise_sum
  discarded,  // a pass that is run for its statistics alone
};

class ParameterArena {
 public:
  // Binds the parameters (which must outlive the arena) in order; names must be unique.
  ParameterArena(Context& context, std::vector<Parameter*> parameters, bool second_moment);

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  int64_t elements() const { return elements_; }  // trainable scalars, without padding between tensors
  bool has_second_moment() const { return second_moment_.defined(); }
  // Each allocates what it names if it is not there yet.
  void require_second_moment();
  void require_noise_sum();
  void require_noise_variance();
  void require_fisher_average();
  void require_kronecker_factors(bool of_inputs);  // and of outputs

  // Around the backward passes of one ghost batch: end_group adds the square of the gradient that it gave to the second
  // moment.
  void begin_group();
  void end_group();

  // Redirects Parameter::gradient_sum.
  void gradients_into(GradientTarget target);
  // Redirects Parameter::noise_sum to one tensor for each parameter, or, with none given, back to the arena's own.
  void noise_sums_into(const std::vector<Tensor>& sums);

  // Values as a function of the seed and each parameter's index; velocities and sums zero.
  void initialise(uint64_t seed);
  void zero_sums();

 private:
  void bind(Tensor Parameter::*member, const Tensor& block);
  void require(Tensor Parameter::*member, Tensor& block);

  Context& context_;
  std::vector<Parameter*> parameters_;
  std::vector<int64_t> offsets_;
  int64_t elements_ = 0, padded_ = 0;
  Tensor value_, gradient_sum_, discarded_, second_moment_, velocity_, noise_sum_, noise_variance_, fisher_average_,
      before_group_;
  std::vector<KroneckerFactors*> kronecker_;
};

// Copies between memory order and PyTorch's (float arrays of parameter.shape.elements() elements).
void to_exported_layout(const Parameter& parameter, const float* internal, float* exported);
void from_exported_layout(const Parameter& parameter, const float* exported, float* internal);

}  // namespace noisysgd
