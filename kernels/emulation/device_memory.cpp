#include <noisysgd/kernels/emulation/device_memory.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/emulation/sanitizer.h>

namespace noisysgd::emulation {

namespace {

struct Table {
  std::map<const char*, Allocation> allocations;
  size_t device_bytes = 0;
  int device_modes = 0;
};
Table& table() {
  static Table& instance = *new Table;  // never destroyed: static tensors may be freed after it
  return instance;
}

}  // namespace

void* allocate(size_t bytes, bool on_device) {
  Table& t = table();
  if (on_device && t.device_bytes + bytes > emulated_device().memory_bytes) return nullptr;
  void* pointer = nullptr;
  if (posix_memalign(&pointer, 256, bytes ? bytes : 1) != 0) return nullptr;
  std::memset(pointer, 0xff, bytes);
  t.allocations[static_cast<char*>(pointer)] = {static_cast<char*>(pointer), bytes, on_device};
  if (on_device) {
    t.device_bytes += bytes;
    if (t.device_modes == 0) poison(pointer, bytes);
  }
  return pointer;
}

bool release(void* pointer, bool on_device) {
  Table& t = table();
  const auto found = t.allocations.find(static_cast<char*>(pointer));
  if (found == t.allocations.end() || found->second.on_device != on_device) return false;
  unpoison(pointer, found->second.bytes);
  if (on_device) t.device_bytes -= found->second.bytes;
  t.allocations.erase(found);
  std::free(pointer);
  return true;
}

size_t device_bytes_held() { return table().device_bytes; }

bool no_room_to_launch() {
  const EmulatedDevice& device = emulated_device();
  return device.launch_bytes > 0 && table().device_bytes + device.launch_bytes > device.memory_bytes;
}

const Allocation* find_allocation(const void* pointer) {
  const char* address = static_cast<const char*>(pointer);
  auto next = table().allocations.upper_bound(address);
  if (next == table().allocations.begin()) return nullptr;
  const Allocation& candidate = std::prev(next)->second;
  return address < candidate.base + (candidate.bytes ? candidate.bytes : 1) ? &candidate : nullptr;
}

bool is_device_pointer(const void* pointer) {
  const Allocation* allocation = find_allocation(pointer);
  return allocation && allocation->on_device;
}

void check_range(const void* pointer, size_t bytes, bool on_device, const char* what) {
  if (bytes == 0) return;
  const Allocation* allocation = find_allocation(pointer);
  const bool is_device = allocation && allocation->on_device;
  NSGD_CHECK(is_device == on_device, "{}: {}", what,
             on_device ? "not device memory" : "device memory, expected host memory");
  NSGD_CHECK(!allocation || static_cast<const char*>(pointer) + bytes <= allocation->base + allocation->bytes,
             "{}: {} bytes go beyond the end of an allocation of {} bytes", what, bytes, allocation->bytes);
}

DeviceMode::DeviceMode() {
  if (table().device_modes++ > 0) return;
  for (const auto& [base, allocation] : table().allocations) {
    if (allocation.on_device) unpoison(base, allocation.bytes);
  }
}

DeviceMode::~DeviceMode() {
  if (--table().device_modes > 0) return;
  for (const auto& [base, allocation] : table().allocations) {
    if (allocation.on_device) poison(base, allocation.bytes);
  }
}

}  // namespace noisysgd::emulation
