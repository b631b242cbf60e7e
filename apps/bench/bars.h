// Bars that measured ratios must keep, from a JSON file: {"bars": [{"goal": "G4", "section": "steps", "network":
// "resnet44", "variant": "diag-F exact + noise", "at_most": 1.15}, …]}. Sections: "layers" (an operation's time over
// the plain weight gradient's, or with "over": "cudnn" over cuDNN's; "channels" and "positions" are ranges [from, to]
// of the convolution's output), "steps" (time over the plain step's) and "bandwidth" (share of copying, "at_least").
// "network" may be left out.
#pragma once

#include <string>

#include <noisysgd/apps/bench/section.h>

namespace noisysgd::bench {

struct Verdict {
  Section section;
  int broken = 0;
};

// Every bar with the worst of what `report` (the command's JSON) holds of it, or "not measured". Of an emulated device
// no bar is judged.
Verdict check_bars(const Json& report, const std::string& path, bool emulated);

}  // namespace noisysgd::bench
