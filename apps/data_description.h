// What a network was trained on, as its checkpoints describe it: whoever has the file can prepare images for the network
// and name its answers, without the data set.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <noisysgd/core/json.h>
#include <noisysgd/core/shape.h>
#include <noisysgd/data/normalize.h>

namespace noisysgd {

struct DataDescription {
  Shape image;                           // [H,W,C]
  std::vector<std::string> class_names;  // one for each class; its number where it has no name. Printable UTF-8
  ChannelStatistics normalisation;       // as used in training

  static DataDescription of(const Dataset& images, const ChannelStatistics& normalisation);
  // {"image": [C,H,W] as PyTorch writes it, "classes": K, "class_names": […], "mean": […], "std": […]}
  Json json() const;
  // Throws Error that names the key and what is expected.
  static DataDescription from(const Json& json);

  int64_t classes() const { return static_cast<int64_t>(class_names.size()); }
  // How images of another set differ in what the network depends on: their shape or classes. Classes that have no names
  // in one of the sets may have any in the other. None if they do not differ.
  std::optional<std::string> difference(const DataDescription& other) const;
};

}  // namespace noisysgd
