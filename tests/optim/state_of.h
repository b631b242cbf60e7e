// What an object names in visit_state.
#pragma once

#include <functional>
#include <string>

#include <noisysgd/core/state.h>

namespace noisysgd::test {

template <class Owner>
void for_each_state(const Owner& owner, const std::function<void(const std::string& name, const Tensor& tensor)>& visit) {
  struct Visitor : StateVisitor {
    void visit(const std::string& name, const Parameter&, const Tensor& tensor) override { call(name, tensor); }
    void visit(const std::string& name, const Tensor& tensor) override { call(name, tensor); }
    std::function<void(const std::string&, const Tensor&)> call;
  } visitor;
  visitor.call = visit;
  owner.visit_state(visitor);
}

// The tensor of that name; undefined if there is none.
template <class Owner>
Tensor state_of(const Owner& owner, const std::string& wanted) {
  Tensor found;
  for_each_state(owner, [&](const std::string& name, const Tensor& tensor) {
    if (name == wanted) found = tensor;
  });
  return found;
}

}  // namespace noisysgd::test
