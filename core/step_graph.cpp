#include <noisysgd/core/step_graph.h>

#include <noisysgd/kernels/number.h>

namespace noisysgd {

bool StepGraph::current(Context& context) const {
  return graph_ && arena_ == context.allocator.arena_generation() &&
         workspace_ == context.queue.workspace().generation();
}

void StepGraph::issue_ops(Context& context, const std::function<void()>& issue, StepCounts& counts) {
  context.queue.workspace().measure();
  needed_ = context.allocator.with_temporaries(issue);
  workspace_needed_ = context.queue.workspace().needed();
  known_ = true;
  ++counts.issued;
}

void StepGraph::run(Context& context, bool recordable, bool enabled, const std::function<void()>& issue, StepCounts& counts) {
  Allocator& allocator = context.allocator;
  const bool possible = enabled && recordable && kernels::OpGraph::supported(context.queue);
  // What would be recorded with one branch must not depend on the step's numbers, on any device.
  const HiddenNumbers hidden(recordable);
  // The first step of a kind makes the arena and the workspace as large as the later ones need. Either may have become
  // smaller since, when a larger one was asked for and there was no room.
  if (!possible || !known_ || !fits_ || needed_ > allocator.arena_bytes() ||
      workspace_needed_ > context.queue.workspace_bytes())
    return issue_ops(context, issue, counts);
  const bool recording = !current(context);
  if (recording) {
    graph_.reset();
    const size_t needed =
        allocator.with_temporaries([&] { graph_ = std::make_unique<kernels::OpGraph>(context.queue, issue); });
    NSGD_CHECK(needed <= needed_, "step graph: a step needs {} bytes and one of its kind needed {}", needed, needed_);
    arena_ = allocator.arena_generation();
    workspace_ = context.queue.workspace().generation();
  }
  try {
    graph_->launch();
  } catch (const OutOfMemory&) {  // the ops themselves need no more than when they were issued
    graph_.reset();
    fits_ = false;
    return issue_ops(context, issue, counts);
  }
  if (recording) ++counts.recorded;
  ++counts.replayed;
}

}  // namespace noisysgd
