#include <noisysgd/kernels/training_sums.h>

#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void set_step_values_kernel(StepValues values, StepValues* to) { *to = values; }
__global__ void close_step_kernel(StepNumber step, TrainingSums* sums) { close_step_in(step.read(), *sums); }
__global__ void restart_sums_kernel(bool window, bool epoch, TrainingSums* sums) { restart_in(window, epoch, *sums); }

}  // namespace

void set_step_values(Queue& queue, const StepValues& values, StepValues* to) {
  launch(queue, set_step_values_kernel, 1u, 1u, 0, values, to);
}
void close_step(Queue& queue, StepNumber step, TrainingSums* sums) {
  launch(queue, close_step_kernel, 1u, 1u, 0, step, sums);
}
void restart_sums(Queue& queue, bool window, bool epoch, TrainingSums* sums) {
  launch(queue, restart_sums_kernel, 1u, 1u, 0, window, epoch, sums);
}

}  // namespace noisysgd::kernels::cuda
