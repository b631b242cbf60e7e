// The images of a regime in memory, with the statistics that normalise them. Regimes with the same data share one copy.
#pragma once

#include <map>
#include <memory>
#include <string>

#include <noisysgd/apps/experiment.h>
#include <noisysgd/data/loader.h>

namespace noisysgd {

struct TrainingData {
  DatasetPair sets;
  ChannelStatistics normalisation;

  Shape image_shape() const { return {sets.train.height, sets.train.width, sets.train.channels}; }
};

class DataCache {
 public:
  // Throws Error if the files are missing or damaged, the configured mean does not have a value per channel, or a
  // channel is constant.
  std::shared_ptr<const TrainingData> get(const Regime& regime);

 private:
  std::map<std::string, std::shared_ptr<const TrainingData>> loaded_;  // by the effective "data" object
};

}  // namespace noisysgd
