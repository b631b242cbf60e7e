// The training that follows the run at work, in the samples of each run, and the time that it will take at the speed of
// the runs so far. Runs that other programs make meanwhile are counted until their turn comes.
#pragma once

#include <map>
#include <string>

namespace noisysgd {

class WorkLeft {
 public:
  // Replaces what follows all the runs that were added: of a tuning, the later rungs and the protocol.
  void set_later(double samples) { later_ = samples; }
  void add(const std::string& regime, double samples) { to_come_[regime] += samples; }    // a run that will be made
  void begin(const std::string& regime, double samples) { to_come_[regime] -= samples; }  // its turn has come
  void measure(const std::string& regime, double seconds_per_sample) { speeds_[regime] = seconds_per_sample; }

  // Of all that is to come, while a run of this regime takes so long for a sample. A regime of which no run was
  // measured is as fast as the mean of the others.
  double seconds(const std::string& regime, double seconds_per_sample) const;

 private:
  double later_ = 0;
  std::map<std::string, double> to_come_, speeds_;  // by regime: samples; seconds for a sample
};

}  // namespace noisysgd
