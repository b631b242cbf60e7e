#include <noisysgd/data/loader.h>

#include <noisysgd/kernels/gather_augment.h>

namespace noisysgd {

Loader::Loader(Context& context, const Dataset& dataset, const ChannelStatistics& statistics,
               const kernels::AugmentOptions& augment)
    : context_(context),
      count_(dataset.count),
      height_(dataset.height),
      width_(dataset.width),
      channels_(dataset.channels),
      images_(context, {count_, height_, width_, channels_}, DType::u8),
      labels_(from_host(context, {count_}, dataset.labels)),
      augment_(augment) {
  NSGD_CHECK(static_cast<int64_t>(statistics.mean.size()) == channels_,
             "{}: {} channel means for images of {} channels", dataset.name, statistics.mean.size(), channels_);
  copy_from_host<uint8_t>(context, dataset.images, images_);
  mean_ = from_host(context, {channels_}, std::vector<float>(statistics.mean.begin(), statistics.mean.end()));
  inverse_std_ = from_host(context, {channels_}, statistics.inverse_standard_deviation());
}

Batch Loader::shuffled(const BatchPlace& place, int64_t samples, uint64_t seed) const {
  return gather({count_, true, seed, place.epoch, place.first, place.offset}, samples, augment_);
}

Batch Loader::ordered(int64_t begin, int64_t end) const {
  return gather({.count = count_, .first = begin}, end - begin, {});
}

Batch Loader::gather(const kernels::SampleOrder& order, int64_t samples, const kernels::AugmentOptions& augment) const {
  Batch batch{Tensor(context_, image_shape().batched(samples)), Tensor(context_, {samples}, DType::i32)};
  const Tensor indices(context_, {samples}, DType::i32);
  kernels::pick_samples(context_.queue, order, samples, labels_.data<int32_t>(), indices.data<int32_t>(),
                        batch.labels.data<int32_t>());
  kernels::gather_augment(context_.queue,
                          {.images = images_.data<uint8_t>(),
                           .count = count_,
                           .height = height_,
                           .width = width_,
                           .channels = channels_,
                           .mean = mean_.f32(),
                           .inverse_std = inverse_std_.f32()},
                          indices.data<int32_t>(), samples, {augment, order.seed, order.epoch}, batch.images.values());
  return batch;
}

}  // namespace noisysgd
