#include <noisysgd/kernels/emulation/race_checker.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/scheduler.h>
#include <noisysgd/kernels/emulation/symbols.h>
#include <noisysgd/kernels/emulation/traffic.h>

namespace noisysgd::emulation::race {

namespace {

constexpr unsigned nobody = ~0u;

struct Access {
  unsigned block = nobody, epoch = 0, clock = 0, thread = 0;
  unsigned char bytes = 0;  // accessed bytes of the word, one bit each
  bool atomic = false;
  unsigned publications = 0;  // of the thread before this access
  void* return_address = nullptr;
};

struct Word {
  Access writer, readers[2];
  unsigned char written = 0;  // bytes that the block has written, for shared memory
};

struct Region {
  char* base;
  size_t bytes;
  bool shared;
  std::vector<Word> words;
};

struct Checker {
  bool active = false;
  unsigned block = 0, epoch = 0, thread = 0;
  size_t threads = 0;                           // of a block, in whole warps
  std::vector<unsigned> clock;                  // number of warp collectives of each thread
  std::vector<std::array<unsigned, 32>> known;  // the latest clock of each lane that a thread is ordered after
  std::vector<unsigned> publications;           // number of publish() calls of each thread
  std::map<char*, Region> regions;
  Region* last = nullptr;
  std::map<const void*, std::set<unsigned>> touched;  // blocks that accessed each atomic word
  std::set<unsigned> acquired;                        // blocks whose writes are ordered before this block's accesses
  std::string report;
};
Checker& checker() {
  static Checker& instance = *new Checker;
  return instance;
}

Region* find_region(char* address) {
  Checker& c = checker();
  const auto holds = [address](const Region& region) {
    return address >= region.base && address < region.base + region.bytes;
  };
  if (c.last && holds(*c.last)) return c.last;
  const auto next = c.regions.upper_bound(address);
  if (next != c.regions.begin() && holds(std::prev(next)->second)) return c.last = &std::prev(next)->second;
  const Allocation* allocation = find_allocation(address);
  if (!allocation || !allocation->on_device) return nullptr;
  Region& region = c.regions[allocation->base];
  region = {allocation->base, allocation->bytes, false, std::vector<Word>(allocation->bytes / 4 + 1)};
  return c.last = &region;
}

bool happened_before(const Access& earlier) {
  const Checker& c = checker();
  if (earlier.block != c.block) return c.acquired.contains(earlier.block);
  if (earlier.thread == c.thread || earlier.epoch < c.epoch) return true;
  return earlier.thread / 32 == c.thread / 32 && c.known[c.thread][earlier.thread % 32] > earlier.clock;
}

std::string place(unsigned block, unsigned thread, void* return_address) {
  return "block " + std::to_string(block) + " thread " + std::to_string(thread) + " at " + source_line(return_address);
}

void report_race(const Region& region, const char* address, const Access& earlier, const char* earlier_kind,
                 const char* kind, void* return_address) {
  Checker& c = checker();
  if (!c.report.empty()) return;
  c.report = std::string("race: ") + (region.shared ? "shared" : "global") + " memory, byte " +
             std::to_string(address - region.base) + ": " + earlier_kind + " by " +
             place(earlier.block, earlier.thread, earlier.return_address) + ", " + kind + " by " +
             place(c.block, c.thread, return_address);
}

void check_written(Region& region, Word& word, const char* address, unsigned char bytes, bool write,
                   void* return_address) {
  Checker& c = checker();
  if (write) {
    word.written |= bytes;
  } else if ((bytes & ~word.written) != 0 && c.report.empty()) {
    c.report = "uninitialised: shared memory, byte " + std::to_string(address - region.base) + ", read by " +
               place(c.block, c.thread, return_address);
  }
}

void access_word(char* address, unsigned char bytes, bool write, bool atomic, void* return_address) {
  Region* region = find_region(address);
  if (!region) return;
  Checker& c = checker();
  Word& word = region->words[static_cast<size_t>(address - region->base) / 4];
  if (region->shared) check_written(*region, word, address, bytes, write, return_address);
  const auto races_with = [&](const Access& other) {
    return other.block != nobody && (other.bytes & bytes) != 0 && !(other.atomic && atomic) && !happened_before(other);
  };
  if (races_with(word.writer)) {
    report_race(*region, address, word.writer, "write", write ? "write" : "read", return_address);
  }
  const Access now{c.block, c.epoch, c.clock[c.thread],        c.thread,
                   bytes,   atomic,  c.publications[c.thread], return_address};
  if (write) {
    for (Access& reader : word.readers) {
      if (races_with(reader)) report_race(*region, address, reader, "read", "write", return_address);
      reader = Access{};
    }
    word.writer = now;
  } else {
    const bool other_reader = word.readers[0].block == c.block && word.readers[0].thread != c.thread;
    word.readers[other_reader ? 1 : 0] = now;
  }
}

void access_words(const void* pointer, size_t bytes, bool write, bool atomic, void* return_address) {
  if (!checker().active) return;
  char* address = static_cast<char*>(const_cast<void*>(pointer));
  while (bytes > 0) {
    const size_t offset = reinterpret_cast<uintptr_t>(address) % 4, count = std::min(4 - offset, bytes);
    access_word(address - offset, static_cast<unsigned char>(((1u << count) - 1) << offset), write, atomic,
                return_address);
    address += count;
    bytes -= count;
  }
}

}  // namespace

void begin_grid(int block_threads) {
  Checker& c = checker();
  c.threads = static_cast<size_t>((block_threads + 31) / 32 * 32);
  c.regions.clear();
  c.last = nullptr;
  c.touched.clear();
  c.report.clear();
  c.active = options().races;
}

void begin_block(size_t block) {
  Checker& c = checker();
  c.block = static_cast<unsigned>(block);
  c.epoch = 0;
  c.acquired.clear();
  c.clock.assign(c.threads, 0);
  c.known.assign(c.threads, {});
  c.publications.assign(c.threads, 0);
}

void add_shared(void* memory, size_t bytes) {
  Checker& c = checker();
  if (!c.active) return;
  c.last = nullptr;
  c.regions[static_cast<char*>(memory)] = {static_cast<char*>(memory), bytes, true, std::vector<Word>(bytes / 4 + 1)};
}

void set_thread(int index) { checker().thread = static_cast<unsigned>(index); }

void synchronize_block() { ++checker().epoch; }

void synchronize_warp(int warp, unsigned mask) {
  Checker& c = checker();
  if (!c.active) return;
  const size_t first = static_cast<size_t>(warp) * 32;
  std::array<unsigned, 32> merged{};
  for (size_t i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    ++c.clock[first + i];
    for (size_t k = 0; k < 32; ++k) merged[k] = std::max(merged[k], c.known[first + i][k]);
  }
  for (size_t i = 0; i < 32; ++i) {
    if (mask >> i & 1) merged[i] = std::max(merged[i], c.clock[first + i]);
  }
  for (size_t i = 0; i < 32; ++i) {
    if (mask >> i & 1) c.known[first + i] = merged;
  }
}

void end_block() {
  Checker& c = checker();
  std::erase_if(c.regions, [](const auto& entry) { return entry.second.shared; });
  c.last = nullptr;
}

std::string end_grid() {
  Checker& c = checker();
  c.active = false;
  c.regions.clear();
  c.last = nullptr;
  return std::exchange(c.report, {});
}

void access(const void* pointer, size_t bytes, bool write, void* return_address) {
  count_access(pointer, bytes, write);
  access_words(pointer, bytes, write, false, return_address);
}

void atomic_access(const void* pointer, size_t bytes, void* return_address) {
  count_access(pointer, bytes, false);
  count_access(pointer, bytes, true);
  Checker& c = checker();
  if (!c.active) return;
  std::set<unsigned>& blocks = c.touched[pointer];
  c.acquired.insert(blocks.begin(), blocks.end());
  blocks.insert(c.block);
  access_words(pointer, bytes, true, true, return_address);
}

void publish() {
  Checker& c = checker();
  if (c.active) ++c.publications[c.thread];
}

void read_by_product(const void* pointer, size_t bytes, void* return_address) {
  access(pointer, bytes, false, return_address);
  Checker& c = checker();
  if (!c.active || !c.report.empty()) return;
  char* address = static_cast<char*>(const_cast<void*>(pointer));
  Region* region = find_region(address);
  if (!region || !region->shared) return;
  for (size_t i = 0; i < bytes; i += 4) {
    const Access& writer = region->words[static_cast<size_t>(address + i - region->base) / 4].writer;
    if (writer.block != c.block || c.publications[writer.thread] != writer.publications) continue;
    c.report = "unpublished: shared memory, byte " + std::to_string(address + i - region->base) +
               ", written without fence.proxy.async by " + place(writer.block, writer.thread, writer.return_address) +
               ", read by a product of " + place(c.block, c.thread, return_address);
    return;
  }
}

void forget_written(const void* pointer, size_t bytes) {
  if (!checker().active) return;
  char* address = static_cast<char*>(const_cast<void*>(pointer));
  Region* region = find_region(address);
  if (!region || !region->shared) return;
  for (size_t i = 0; i < bytes; i += 4) region->words[static_cast<size_t>(address + i - region->base) / 4].written = 0;
}

}  // namespace noisysgd::emulation::race
