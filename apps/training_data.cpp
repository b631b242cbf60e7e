#include <noisysgd/apps/training_data.h>

namespace noisysgd {

namespace {

std::shared_ptr<const TrainingData> load(const DataOptions& options) {
  auto data = std::make_shared<TrainingData>();
  data->sets = options.dataset.load();
  const Dataset& train = data->sets.train;
  if (options.mean.empty()) {
    data->normalisation = channel_statistics(train);
  } else {
    data->normalisation = {options.mean, options.standard_deviation};
    NSGD_CHECK(static_cast<int64_t>(options.mean.size()) == train.channels,
               "data.normalize: {} values for images of {} channels", options.mean.size(), train.channels);
  }
  data->normalisation.inverse_standard_deviation();  // throws here, before the run begins
  return data;
}

}  // namespace

std::shared_ptr<const TrainingData> DataCache::get(const Regime& regime) {
  auto& entry = loaded_[regime.effective.at("data").dump()];
  if (entry) return entry;
  entry = at_place(regime, [&] { return load(regime.data); });
  return entry;
}

}  // namespace noisysgd
