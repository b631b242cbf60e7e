// One number for every element of every parameter, in one contiguous array: gradient sums, second moments, momentum,
// averages. The class that uses a Block owns it. Copies share memory.
#pragma once

#include <noisysgd/core/parameter.h>

namespace noisysgd {

class Block {
 public:
  Block() = default;  // undefined: no memory; the values are not collected
  Block(Context& context, const ParameterSet& parameters) : all_(zeros(context, {parameters.padded()})) {}

  bool defined() const { return all_.defined(); }
  // [ParameterSet::padded], with zeros between the tensors.
  const Tensor& all() const { return all_; }
  Tensor of(const Parameter& parameter) const { return all_.view(parameter.offset, parameter.shape); }
  // The address of the parameter's first element on the device; null if the block is undefined.
  float* at(const Parameter& parameter) const { return defined() ? all_.f32() + parameter.offset : nullptr; }

 private:
  Tensor all_;
};

}  // namespace noisysgd
