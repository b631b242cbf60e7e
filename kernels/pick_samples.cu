#include <noisysgd/kernels/pick_samples.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/shuffle.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads)
    pick_samples_kernel(SampleOrder order, int64_t samples, const int32_t* all_labels, int32_t* indices,
                        int32_t* labels) {
  const Shuffle shuffle(order.count, order.seed, order.epoch.read());
  const int64_t first = order.first.read() + order.offset;
  grid_stride(samples, [&](int64_t m) {
    const int64_t position = first + m;
    const bool inside = position < order.count;
    const int64_t index = !inside ? -1 : order.shuffled ? shuffle(position) : position;
    indices[m] = static_cast<int32_t>(index);
    labels[m] = inside ? all_labels[index] : -1;
  });
}

}  // namespace

void pick_samples(Queue& queue, const SampleOrder& order, int64_t samples, const int32_t* all_labels, int32_t* indices,
                  int32_t* labels) {
  if (samples > 0)
    launch(queue, pick_samples_kernel, grid_size(samples), block_threads, 0, order, samples, all_labels, indices,
           labels);
}

}  // namespace noisysgd::kernels::cuda
