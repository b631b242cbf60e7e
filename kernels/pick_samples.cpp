#include <noisysgd/kernels/pick_samples.h>

#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/shuffle.h>

namespace noisysgd::kernels::cpu {

void pick_samples(Queue& queue, const SampleOrder& order, int64_t samples, const int32_t* all_labels, int32_t* indices,
                  int32_t* labels) {
  const Shuffle shuffle(order.count, order.seed, order.epoch.read());
  const int64_t first = order.first.read() + order.offset;
  parallel_ranges(queue, samples, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      const int64_t position = first + m;
      const bool inside = position < order.count;
      const int64_t index = !inside ? -1 : order.shuffled ? shuffle(position) : position;
      indices[m] = static_cast<int32_t>(index);
      labels[m] = inside ? all_labels[index] : -1;
    }
  });
}

}  // namespace noisysgd::kernels::cpu
