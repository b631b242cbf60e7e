// Training steps as device graphs. Steps with equal keys issue the same ops on the same memory. The first step with a
// key is issued op by op. The second is recorded as a graph, which is launched for this and all later steps. On a
// device without graphs every step is issued op by op.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/op_graph.h>

namespace noisysgd {

struct StepCounts {
  int64_t issued = 0, recorded = 0, replayed = 0;  // a recorded step is also replayed
};

// The steps with one key.
class StepGraph {
 public:
  // Issues the ops of the step or replays its graph. No tensor that `issue` allocates may outlive it. recordable: false
  // if the ops make the host wait, or if the host reads values that change from step to step. enabled: false issues
  // every step.
  void run(Context& context, bool recordable, bool enabled, const std::function<void()>& issue, StepCounts& counts);
  bool known() const { return known_; }  // a step has been issued

 private:
  bool current(Context& context) const;
  void issue_ops(Context& context, const std::function<void()>& issue, StepCounts& counts);

  std::unique_ptr<kernels::OpGraph> graph_;
  bool known_ = false;
  size_t needed_ = 0;                   // bytes of the arena
  size_t workspace_needed_ = 0;         // bytes; an op that needs more during recording throws
  uint64_t arena_ = 0, workspace_ = 0;  // generations of the memory that the graph uses
  bool fits_ = true;                    // false: the device had no room for the graph
};

// Key: an ordered type. Values that differ between steps of equal keys are read from memory when the ops run
// (kernels/number.h).
template <class Key>
class StepGraphs {
 public:
  // enabled: false issues every step.
  StepGraphs(Context& context, bool enabled) : context_(context), enabled_(enabled) {}

  void run(const Key& key, bool recordable, const std::function<void()>& issue) {
    graphs_[key].run(context_, recordable, enabled_, issue, counts_);
  }
  bool known(const Key& key) const {
    const auto found = graphs_.find(key);
    return found != graphs_.end() && found->second.known();
  }
  const StepCounts& counts() const { return counts_; }

 private:
  Context& context_;
  bool enabled_;
  std::map<Key, StepGraph> graphs_;
  StepCounts counts_;
};

}  // namespace noisysgd
