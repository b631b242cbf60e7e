#include "core/step_graph.h"

namespace noisysgd {

bool StepGraphs::current(const Recorded& recorded) const {
  return recorded.graph && recorded.arena == context_.allocator.arena_generation() &&
         recorded.workspace == context_.queue.workspace_generation();
}

void StepGraphs::run(const Kind& kind, bool recordable, const std::function<void()>& issue) {
  Allocator& allocator = context_.allocator;
  const auto found = kinds_.find(kind);
  const bool possible = enabled_ && recordable && kernels::OpGraph::supported(context_.queue);
  // The first step of a kind makes the arena and the workspace as large as the later ones need. Either may have become
  // smaller since, when a larger one was asked for and there was no room.
  if (!possible || found == kinds_.end() || found->second.needed > allocator.arena_bytes() ||
      found->second.workspace_bytes > context_.queue.workspace_bytes()) {
    const size_t needed = allocator.with_temporaries(issue);
    ++counts_.issued;
    kinds_[kind].needed = needed;
    kinds_[kind].workspace_bytes = context_.queue.workspace_bytes();
    return;
  }
  Recorded& recorded = found->second;
  if (!current(recorded)) {
    recorded.graph.reset();
    const size_t needed =
        allocator.with_temporaries([&] { recorded.graph = std::make_unique<kernels::OpGraph>(context_.queue, issue); });
    NSGD_CHECK(needed <= recorded.needed, "step graph: a step needs {} bytes and one of its kind needed {}", needed,
               recorded.needed);
    recorded.arena = allocator.arena_generation();
    recorded.workspace = context_.queue.workspace_generation();
    ++counts_.recorded;
  }
  recorded.graph->launch();
  ++counts_.replayed;
}

}  // namespace noisysgd
