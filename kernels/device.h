// The device on which an op runs: a backend and the index of one of its devices.
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
