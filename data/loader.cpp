#include "data/loader.h"

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
      augment_(augment) {
  NSGD_CHECK(static_cast<int64_t>(statistics.mean.size()) == channels_,
             "{}: {} channel means for images of {} channels", dataset.name, statistics.mean.size(), channels_);
  copy_from_host<uint8_t>(context, dataset.images, images_);
  mean_ = from_host(context, {channels_}, std::vector<float>(statistics.mean.begin(), statistics.mean.end()));
  inverse_std_ = from_host(context, {channels_}, statistics.inverse_standard_deviation());
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
  std::vector<int32_t> labels;
  labels.reserve(indices.size());
  for (const int32_t i : indices) labels.push_back(labels_[static_cast<size_t>(i)]);
  Batch batch{Tensor(context_, image_shape().batched(samples)), from_host(context_, {samples}, labels), {}};
  const Tensor picked = from_host(context_, {samples}, indices);
  kernels::gather_augment(context_.queue, images_.data<uint8_t>(), picked.data<int32_t>(), count_, samples, height_,
                          width_, channels_, mean_.f32(), inverse_std_.f32(), augment, seed, epoch, batch.images.f32());
  return batch;
}

}  // namespace noisysgd
