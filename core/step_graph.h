// Steps as graphs: a step is issued op by op the first time that one of its kind comes, recorded the second time, and
// from then on launched as a whole. Where the device has no graphs every step is issued.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "core/tensor.h"
#include "kernels/op_graph.h"

namespace noisysgd {

class StepGraphs {
 public:
  // What makes steps alike: equal kinds issue the same ops on the same memory, and what differs is read from memory
  // when the ops run (kernels/number.h).
  using Kind = std::vector<int64_t>;
  struct Counts {
    int64_t issued = 0, recorded = 0, replayed = 0;  // a step that is recorded is replayed as well
  };

  // enabled: false issues every step.
  StepGraphs(Context& context, bool enabled) : context_(context), enabled_(enabled) {}

  // Issues the step's ops, whose tensors do not outlive it, or replays those of its kind. recordable: false for ops
  // that make the host wait.
  void run(const Kind& kind, bool recordable, const std::function<void()>& issue);

  bool known(const Kind& kind) const { return kinds_.contains(kind); }
  const Counts& counts() const { return counts_; }

 private:
  struct Recorded {
    std::unique_ptr<kernels::OpGraph> graph;
    size_t needed = 0;                  // of the arena
    size_t workspace_bytes = 0;         // that sufficed: an op that asks for more while it is recorded is refused
    uint64_t arena = 0, workspace = 0;  // generations of the memory that it uses
    bool fits = true;                   // false: the device had no room for the graph
  };
  bool current(const Recorded& recorded) const;

  Context& context_;
  bool enabled_;
  std::map<Kind, Recorded> kinds_;
  Counts counts_;
};

}  // namespace noisysgd
