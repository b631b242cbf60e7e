#include <noisysgd/kernels/training_sums.h>

namespace noisysgd::kernels::cpu {

void set_step_values(Queue&, const StepValues& values, StepValues* to) { *to = values; }
void close_step(Queue&, StepNumber step, TrainingSums* sums) { close_step_in(step.read(), *sums); }
void restart_sums(Queue&, bool window, bool epoch, TrainingSums* sums) { restart_in(window, epoch, *sums); }

}  // namespace noisysgd::kernels::cpu
