// Steps as graphs: a step is issued op by op the first time that one of its kind comes, recorded the second time, and
// from then on launched as a whole. Where the device has no graphs every step is issued.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/op_graph.h>

namespace noisysgd {

struct StepCounts {
  int64_t issued = 0, recorded = 0, replayed = 0;  // a step that is recorded is replayed as well
};

// The steps of one kind.
class StepGraph {
 public:
  // Issues the step's ops, whose tensors do not outlive it, or replays them. recordable: false for ops that make the
  // host wait, or read on the host what changes from step to step; enabled: false issues those of every kind.
  void run(Context& context, bool recordable, bool enabled, const std::function<void()>& issue, StepCounts& counts);
  bool known() const { return known_; }  // one has been issued

 private:
  bool current(Context& context) const;
  void issue_ops(Context& context, const std::function<void()>& issue, StepCounts& counts);

  std::unique_ptr<kernels::OpGraph> graph_;
  bool known_ = false;
  size_t needed_ = 0;                   // of the arena
  size_t workspace_needed_ = 0;         // an op that takes more while it is recorded is refused
  uint64_t arena_ = 0, workspace_ = 0;  // generations of the memory that it uses
  bool fits_ = true;                    // false: the device had no room for the graph
};

// Kind: what makes steps alike, ordered. Equal kinds issue the same ops on the same memory, and what differs is read
// from memory when the ops run (kernels/number.h).
template <class Kind>
class StepGraphs {
 public:
  // enabled: false issues every step.
  StepGraphs(Context& context, bool enabled) : context_(context), enabled_(enabled) {}

  void run(const Kind& kind, bool recordable, const std::function<void()>& issue) {
    kinds_[kind].run(context_, recordable, enabled_, issue, counts_);
  }
  bool known(const Kind& kind) const {
    const auto found = kinds_.find(kind);
    return found != kinds_.end() && found->second.known();
  }
  const StepCounts& counts() const { return counts_; }

 private:
  Context& context_;
  bool enabled_;
  std::map<Kind, StepGraph> kinds_;
  StepCounts counts_;
};

}  // namespace noisysgd
