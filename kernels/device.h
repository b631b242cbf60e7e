// Which backend runs an op, and on which device of it.
#pragma once

#include <string>

namespace noisysgd {

enum class Backend { cpu, cuda };

struct Device {
  Backend backend = Backend::cpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  std::string name() const { return backend == Backend::cpu ? "cpu" : "cuda:" + std::to_string(index); }
};

}  // namespace noisysgd
