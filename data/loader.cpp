#include "data/loader.h"

#include <algorithm>
#include <numeric>

#include "data/shuffle.h"
#include "kernels/gather_augment.h"

namespace noisysgd {

Loader::Loader(Context& context, const Dataset& dataset, const ChannelStatistics& statistics,
               const kernels::AugmentOptions& augment)
    : context_(context),
      count_(dataset.count),
      height_(dataset.height),
      width_(dataset.width),
      channels_(dataset.channels),
      images_(context, {count_, height_, width_, channels_}, DType::u8),
      labels_(dataset.labels),
      mean_(statistics.mean.begin(), statistics.mean.end()),
      inverse_std_(statistics.inverse_standard_deviation()),
      augment_(augment) {
  NSGD_CHECK(static_cast<int64_t>(mean_.size()) == channels_, "{}: {} channel means for images of {} channels",
             dataset.name, mean_.size(), channels_);
  std::copy(dataset.images.begin(), dataset.images.end(), images_.data<uint8_t>());
}

Batch Loader::shuffled(int64_t begin, int64_t end, uint64_t seed, uint32_t epoch) const {
  const Shuffle shuffle(count_, seed, epoch);
  std::vector<int32_t> indices;
  for (int64_t position = begin; position < end; ++position) indices.push_back(static_cast<int32_t>(shuffle(position)));
  return gather(indices, augment_, seed, epoch);
}

Batch Loader::ordered(int64_t begin, int64_t end) const {
  std::vector<int32_t> indices(static_cast<size_t>(end - begin));
  std::iota(indices.begin(), indices.end(), static_cast<int32_t>(begin));
  return gather(indices, {}, 0, 0);
}

Batch Loader::gather(const std::vector<int32_t>& indices, const kernels::AugmentOptions& augment, uint64_t seed,
                     uint32_t epoch) const {
  const auto samples = static_cast<int64_t>(indices.size());
  Batch batch{Tensor(context_, image_shape().batched(samples)), Tensor(context_, {samples}, DType::i32), {}};
  kernels::gather_augment(context_.queue, images_.data<uint8_t>(), indices.data(), count_, samples, height_, width_,
                          channels_, mean_.data(), inverse_std_.data(), augment, seed, epoch, batch.images.f32());
  std::transform(indices.begin(), indices.end(), batch.labels.data<int32_t>(),
                 [&](int32_t i) { return labels_[static_cast<size_t>(i)]; });
  return batch;
}

}  // namespace noisysgd
