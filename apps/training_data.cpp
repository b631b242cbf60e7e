#include <noisysgd/apps/training_data.h>

namespace noisysgd {

std::shared_ptr<const TrainingData> DataCache::get(const Regime& regime) {
  auto& entry = loaded_[regime.effective.at("data").dump()];
  if (entry) return entry;
  auto data = std::make_shared<TrainingData>();
  data->sets = regime.data.dataset.load();
  const Dataset& train = data->sets.train;
  if (regime.data.mean.empty()) {
    data->normalisation = channel_statistics(train);
  } else {
    data->normalisation = {regime.data.mean, regime.data.standard_deviation};
    NSGD_CHECK(static_cast<int64_t>(regime.data.mean.size()) == train.channels,
               "data.normalize: {} values for images of {} channels", regime.data.mean.size(), train.channels);
  }
  data->normalisation.inverse_standard_deviation();  // throws now, not where the run begins
  entry = std::move(data);
  return entry;
}

}  // namespace noisysgd
