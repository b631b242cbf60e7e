// What was measured of the cases of a benchmark, as a table, as JSON, and in comparison with an earlier run.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/bench/case.h>
#include <noisysgd/bench/ceilings.h>
#include <noisysgd/bench/measure.h>
#include <noisysgd/bench/report.h>

namespace noisysgd::bench {

struct Result {
  const Case* of;
  double error;
  std::optional<Samples> times = {};  // none: only the error was wanted
};

// The time that the roofs allow, over the measured one.
struct Share {
  double value;
  std::string roof;  // "copy", or Roofs::arithmetic
};
Share share_of_roof(double bytes, double flops, double seconds, const Roofs& roofs);

// The medians of a report that Report::write wrote, by case, and what it says of the machine.
struct Earlier {
  std::string path;
  std::map<std::string, double> seconds;
  Json machine, settings;

  // Throws Error if the file is no report with cases.
  static Earlier read(const std::string& path);
  // "threads: 2 there, 1 here": what makes the times incomparable, empty if nothing does.
  std::vector<std::string> differences(const Json& machine_here, const Json& settings_here) const;
};

struct Conditions {
  Roofs roofs;
  Json settings;  // {"device", "precision", "threads", "rounds"}
  const Earlier* earlier = nullptr;
};

// Of results with times. The JSON has the settings, the roofs and one object per case.
Section section_of(const std::vector<Result>& results, const Conditions& conditions, const Json& machine);
// The bars of all results. emulated: times are not judged.
Verdicts judge(const std::vector<Result>& results, const Conditions& conditions, bool emulated);

}  // namespace noisysgd::bench
