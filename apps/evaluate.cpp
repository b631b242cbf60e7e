#include <noisysgd/apps/evaluate.h>

#include <algorithm>

#include <noisysgd/core/device_value.h>

namespace noisysgd {

kernels::LossSums evaluate(Model& model, const Loader& images, int64_t batch, const SeeLogits& see) {
  const DeviceValue<kernels::LossSums> sums(model.context());
  for (int64_t begin = 0; begin < images.count(); begin += batch)
    model.context().allocator.with_temporaries([&] {
      const Batch part = images.ordered(begin, std::min(images.count(), begin + batch));
      const Tensor logits = model.evaluate(part, sums.place());
      if (see) see(part, logits);
    });
  const kernels::LossSums total = sums.read();
  check(total);
  return total;
}

}  // namespace noisysgd
