#include <noisysgd/kernels/emulation/traffic.h>

#include <fmt/format.h>

#include <bit>
#include <bitset>
#include <unordered_map>

#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/launches.h>

namespace noisysgd::emulation {

namespace {

constexpr uintptr_t sector_bytes = 32, page_sectors = 128;

struct Page {
  std::bitset<page_sectors> read, written;
};

struct Counter {
  std::map<const void*, Traffic> kernels;
  Traffic launch;
  std::unordered_map<uintptr_t, Page> pages;
  bool counting = false;
  Allocation memory{};  // that was accessed last
};
Counter& counter() {
  static Counter& instance = *new Counter;  // never destroyed: launches may come from destructors of statics
  return instance;
}

bool on_device(const char* address) {
  Allocation& last = counter().memory;
  if (address >= last.base && address < last.base + last.bytes) return true;
  const Allocation* const allocation = find_allocation(address);
  if (!allocation || !allocation->on_device) return false;
  last = *allocation;
  return true;
}

}  // namespace

Traffic& Traffic::operator+=(const Traffic& other) {
  launches += other.launches;
  bytes_read += other.bytes_read;
  bytes_written += other.bytes_written;
  bytes_loaded += other.bytes_loaded;
  bytes_stored += other.bytes_stored;
  return *this;
}

std::map<std::string, Traffic> traffic() {
  std::map<std::string, Traffic> all;
  for (const auto& [kernel, traffic] : counter().kernels) all[base_name(kernel)] += traffic;
  return all;
}

void reset_traffic() { counter().kernels.clear(); }

Traffic sum_of(const std::map<std::string, Traffic>& traffic) {
  Traffic sum;
  for (const auto& [name, one] : traffic) sum += one;
  return sum;
}

std::string list_of(const std::map<std::string, Traffic>& traffic) {
  std::string list;
  for (const auto& [name, one] : traffic)
    list +=
        fmt::format("{:4} × {}: {} bytes read, {} written\n", one.launches, name, one.bytes_read, one.bytes_written);
  return list;
}

void begin_traffic() {
  Counter& c = counter();
  c.launch = {.launches = 1};
  c.pages.clear();
  c.memory = {};
  c.counting = true;
}

void count_access(const void* pointer, size_t bytes, bool write) {
  Counter& c = counter();
  if (!c.counting || bytes == 0 || !on_device(static_cast<const char*>(pointer))) return;
  (write ? c.launch.bytes_stored : c.launch.bytes_loaded) += static_cast<int64_t>(bytes);
  const auto address = std::bit_cast<uintptr_t>(pointer);
  for (uintptr_t sector = address / sector_bytes; sector <= (address + bytes - 1) / sector_bytes; ++sector) {
    Page& page = c.pages[sector / page_sectors];
    const size_t place = sector % page_sectors;
    if (write)
      page.written.set(place);
    else if (!page.written.test(place))
      page.read.set(place);
  }
}

void end_traffic(const void* kernel) {
  Counter& c = counter();
  c.counting = false;
  for (const auto& [number, page] : c.pages) {
    c.launch.bytes_read += static_cast<int64_t>(page.read.count() * sector_bytes);
    c.launch.bytes_written += static_cast<int64_t>(page.written.count() * sector_bytes);
  }
  c.pages.clear();
  c.kernels[kernel] += c.launch;
}

}  // namespace noisysgd::emulation
