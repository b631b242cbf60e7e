// The table of emulated allocations. While host code runs, device memory is poisoned for the address sanitizer; a
// DeviceMode object makes it accessible while device code runs.
#pragma once

#include <cstddef>

namespace noisysgd::emulation {

struct Allocation {
  char* base;
  size_t bytes;
  bool on_device;
};

// 256-byte aligned memory, filled with NaN; null if the device has too little memory.
void* allocate(size_t bytes, bool on_device);
// Returns false if the pointer is not the start of such an allocation.
bool release(void* pointer, bool on_device);
size_t device_bytes_held();
bool no_room_to_launch();  // whether fewer than EmulatedDevice::launch_bytes are free

// The allocation that holds the byte at `pointer`, or null.
const Allocation* find_allocation(const void* pointer);
bool is_device_pointer(const void* pointer);
// Throws noisysgd::Error unless [pointer, pointer + bytes) is device memory (on_device) or host memory (!on_device).
void check_range(const void* pointer, size_t bytes, bool on_device, const char* what);

class DeviceMode {
 public:
  DeviceMode();
  ~DeviceMode();
  DeviceMode(const DeviceMode&) = delete;
  DeviceMode& operator=(const DeviceMode&) = delete;
};

}  // namespace noisysgd::emulation
