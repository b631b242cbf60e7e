#include <noisysgd/optim/measurement.h>

#include <noisysgd/optim/layer_measurement.h>

namespace noisysgd {

Measurements read_measurements(const ConfigReader& json) {
  Measurements measurements;
  for (const auto read : {LayerMeasurement::read})
    if (auto measurement = read(json)) measurements.push_back(std::move(measurement));
  return measurements;
}

}  // namespace noisysgd
