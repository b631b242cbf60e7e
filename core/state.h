// What lives from one step to the next. Whoever keeps state names each tensor once, in visit_state; a checkpoint then
// saves and restores it, and a resumed run has the same bits.
#pragma once

#include <string>

#include <noisysgd/core/block.h>

namespace noisysgd {

class StateVisitor {
 public:
  virtual ~StateVisitor() = default;
  // A tensor of one parameter, stored in PyTorch's layout.
  virtual void visit(const std::string& name, const Parameter& parameter, const Tensor& tensor) = 0;
  // Any other tensor, stored as it lies in memory. f32, f64 or i32.
  virtual void visit(const std::string& name, const Tensor& tensor) = 0;
};

// Every parameter's part of a block, named prefix + the parameter's name.
inline void visit_block(StateVisitor& visitor, const std::string& prefix, const ParameterSet& parameters,
                        const Block& block) {
  for (const Parameter* parameter : parameters.list())
    visitor.visit(prefix + parameter->name, *parameter, block.of(*parameter));
}

}  // namespace noisysgd
