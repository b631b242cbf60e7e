// The table of emulated allocations: who may touch what. While host code runs, device memory is poisoned for the
// address sanitizer; a DeviceMode makes it accessible for as long as device code runs.
#pragma once

#include <cstddef>

namespace noisysgd::emulation {

struct Allocation {
  char* base;
  size_t bytes;
  bool on_device;
};

// 256-byte aligned, filled with NaN; null if the device's memory does not suffice.
void* allocate(size_t bytes, bool on_device);
// False if the pointer is not the start of such an allocation.
bool release(void* pointer, bool on_device);
size_t device_bytes_held();
bool no_room_to_launch();  // EmulatedDevice::launch_bytes are not free

// The allocation that holds the byte at `pointer`, or null.
const Allocation* find_allocation(const void* pointer);
bool is_device_pointer(const void* pointer);
// Throws noisysgd::Error unless [pointer, pointer + bytes) is device memory (on_device), or is not.
void check_range(const void* pointer, size_t bytes, bool on_device, const char* what);

class DeviceMode {
 public:
  DeviceMode();
  ~DeviceMode();
  DeviceMode(const DeviceMode&) = delete;
  DeviceMode& operator=(const DeviceMode&) = delete;
};

}  // namespace noisysgd::emulation
