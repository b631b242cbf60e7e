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
  const auto issue_ops = [&] {
    const size_t needed = allocator.with_temporaries(issue);
    ++counts_.issued;
    kinds_[kind].needed = needed;
    kinds_[kind].workspace_bytes = context_.queue.workspace_bytes();
  };
  // The first step of a kind makes the arena and the workspace as large as the later ones need. Either may have become
  // smaller since, when a larger one was asked for and there was no room.
  if (!possible || found == kinds_.end() || !found->second.fits || found->second.needed > allocator.arena_bytes() ||
      found->second.workspace_bytes > context_.queue.workspace_bytes())
    return issue_ops();
  Recorded& recorded = found->second;
  const bool recording = !current(recorded);
  if (recording) {
    recorded.graph.reset();
    const size_t needed =
        allocator.with_temporaries([&] { recorded.graph = std::make_unique<kernels::OpGraph>(context_.queue, issue); });
    NSGD_CHECK(needed <= recorded.needed, "step graph: a step needs {} bytes and one of its kind needed {}", needed,
               recorded.needed);
    recorded.arena = allocator.arena_generation();
    recorded.workspace = context_.queue.workspace_generation();
  }
  try {
    recorded.graph->launch();
  } catch (const OutOfMemory&) {  // the ops themselves need no more than when they were issued
    recorded.graph.reset();
    recorded.fits = false;
    return issue_ops();
  }
  if (recording) ++counts_.recorded;
  ++counts_.replayed;
}

}  // namespace noisysgd
