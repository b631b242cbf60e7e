// The device that the emulation presents, and the state of its driver. Tests change it with a DifferentDevice object
// for that object's lifetime.
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
  size_t launch_bytes = 0;                       // memory that a launch, also by a library, needs for the kernel's code
  double kernel_seconds = 0, cudnn_seconds = 0;  // added to the time of a kernel, and of a convolution by cuDNN
  size_t block_shared_bytes = 227 * 1024;        // compute capability 8.0: 163 KiB; 8.6, 8.9 and 12.0: 99 KiB
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
