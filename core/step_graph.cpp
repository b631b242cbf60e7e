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
  // A recordable step must not branch on the step's numbers, because a graph replays one branch. Hidden on any device.
  const HiddenNumbers hidden(recordable);
  // The first step with a key makes the arena and the workspace as large as later steps need. Either may have shrunk
  // since, after a failed attempt to make it larger.
  if (!possible || !known_ || !fits_ || needed_ > allocator.arena_bytes() ||
      workspace_needed_ > context.queue.workspace_bytes())
    return issue_ops(context, issue, counts);
  const bool recording = !current(context);
  if (recording) {
    graph_.reset();
    const size_t needed =
        allocator.with_temporaries([&] { graph_ = std::make_unique<kernels::OpGraph>(context.queue, issue); });
    NSGD_CHECK(needed <= needed_, "step graph: a step needs {} bytes, and an earlier one with the same key needed {}",
               needed, needed_);
    arena_ = allocator.arena_generation();
    workspace_ = context.queue.workspace().generation();
  }
  try {
    graph_->launch();
  } catch (const OutOfMemory&) {  // without the graph the ops need no more memory than before
    graph_.reset();
    fits_ = false;
    return issue_ops(context, issue, counts);
  }
  if (recording) ++counts.recorded;
  ++counts.replayed;
}

}  // namespace noisysgd
