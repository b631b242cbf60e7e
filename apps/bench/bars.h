// Bars that measured ratios must keep, from a JSON file: {"bars": [{"goal": "G4", "section": "steps", "network":
// "resnet44", "variant": "diag-F exact + noise", "at_most": 1.15}, …]}. Sections: "layers" (an operation's time over
// the plain weight gradient's, or with "over": "cudnn" over cuDNN's; "channels" and "positions" are ranges [from, to]
// of the convolution's output), "steps" (time over the plain step's) and "bandwidth" (share of copying, "at_least").
// "network" may be left out.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/apps/bench/section.h>

namespace noisysgd::bench {

struct Bar {
  Json json;  // as the file has it
  std::string goal, section;
  std::optional<std::string> network;  // none: all
  std::string name;                    // of the operation or the variant
  bool over_cudnn = false;
  std::optional<std::array<int64_t, 2>> channels, positions;
  bool upper = true;  // the value may be at most the limit, not at least
  double limit = 0;
};

// Throws ConfigError with every problem of the file.
std::vector<Bar> read_bars(const std::string& path);

struct Verdict {
  Section section;
  int broken = 0;
};

// Every bar with the worst of what `report` (the command's JSON) holds of it, or "not measured". Of an emulated device
// no bar is judged. path: of the bars, for the note.
Verdict check_bars(const Json& report, const std::vector<Bar>& bars, const std::string& path, bool emulated);

}  // namespace noisysgd::bench
