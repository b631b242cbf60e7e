// State that persists from one step to the next. A class with state names each tensor once, in visit_state. Checkpoints
// save and restore these tensors, and a resumed run is bit-identical to an uninterrupted one. A class of the library adds
// the first part of its names to checkpoint_scopes (layers/registry.h), so that no layer can have that name.
#pragma once

#include <string>

#include <noisysgd/core/block.h>

namespace noisysgd {

class StateVisitor {
 public:
  virtual ~StateVisitor() = default;
  // A tensor of one parameter, stored in PyTorch's layout.
  virtual void visit(const std::string& name, const Parameter& parameter, const Tensor& tensor) = 0;
  // Any other tensor, stored in memory order: f32, f64 or i32.
  virtual void visit(const std::string& name, const Tensor& tensor) = 0;
};

// Visits the view of each parameter in the block, under the name prefix + parameter name.
inline void visit_block(StateVisitor& visitor, const std::string& prefix, const ParameterSet& parameters,
                        const Block& block) {
  for (const Parameter* parameter : parameters.list())
    visitor.visit(prefix + parameter->name, *parameter, block.of(*parameter));
}

}  // namespace noisysgd
