// The device that the emulation shows, and the state of its driver. Tests change it for as long as an object of
// DifferentDevice lives.
#pragma once

#include <cstddef>
#include <utility>

#include <noisysgd/kernels/emulation/types.h>

namespace noisysgd::emulation {

struct EmulatedDevice {
  int count = 1;  // of devices
  cudaError_t driver = cudaSuccess;
  int driver_version = 13000, runtime_version = 13000;
  int major = 9, minor = 0;  // compute capability
  size_t memory_bytes = size_t(1) << 30;
  size_t launch_bytes = 0;                 // of memory that a launch needs for the kernel's code, by a library as well
  size_t block_shared_bytes = 227 * 1024;  // compute capability 8.0: 163 KiB; 8.6, 8.9 and 12.0: 99 KiB
};

inline EmulatedDevice& emulated_device() {
  static EmulatedDevice device;
  return device;
}

class DifferentDevice {
 public:
  explicit DifferentDevice(const EmulatedDevice& device) : before_(std::exchange(emulated_device(), device)) {}
  ~DifferentDevice() { emulated_device() = before_; }
  DifferentDevice(const DifferentDevice&) = delete;
  DifferentDevice& operator=(const DifferentDevice&) = delete;

 private:
  EmulatedDevice before_;
};

}  // namespace noisysgd::emulation
