#include <noisysgd/apps/work_left.h>

namespace noisysgd {

double WorkLeft::seconds(const std::string& regime, double seconds_per_sample) const {
  std::map<std::string, double> speeds = speeds_;
  speeds[regime] = seconds_per_sample;
  double mean = 0;
  for (const auto& [name, speed] : speeds) mean += speed / static_cast<double>(speeds.size());
  double seconds = later_ * mean;
  for (const auto& [name, samples] : to_come_) {
    const auto known = speeds.find(name);
    seconds += samples * (known == speeds.end() ? mean : known->second);
  }
  return seconds;
}

}  // namespace noisysgd
