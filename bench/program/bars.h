// Bars are limits on measured ratios, read from a JSON file: {"bars": [{"goal": "G4", "section": "steps", "network":
// "resnet44", "variant": "diag-F exact + noise", "at_most": 1.15}, …]}. Sections: "layers" (an operation's time over
// that of the plain weight gradient, or with "over": "cudnn" over that of cuDNN; "channels" and "positions" are ranges
// [from, to] of the convolution's output), "steps" (time, or with "quantity": "memory" memory, over that of the plain
// step), "curvature" (the same over that of the gradient) and "bandwidth" (share of copying, "at_least"). "network" may
// be left out.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include <noisysgd/bench/report.h>

namespace noisysgd::bench {

struct Bar {
  Json json;  // as in the file
  std::string goal, section;
  std::optional<std::string> network;  // none: all
  std::string name;                    // of the operation or the variant
  bool over_cudnn = false;
  bool memory = false;  // not time
  std::optional<std::array<int64_t, 2>> channels, positions;
  Limit limit;
};

// Throws ConfigError with every problem of the file.
std::vector<Bar> read_bars(const std::string& path);

// Compares every bar with the worst value that `report` (the JSON of the program) holds for it; "not measured" if there
// is none. On an emulated device no bar is judged. path: the file of the bars, for the note.
Verdicts check_bars(const Json& report, const std::vector<Bar>& bars, const std::string& path, bool emulated);

}  // namespace noisysgd::bench
