// Counts the bytes that kernels move between global memory and the GPU. Only builds with the race checker see every
// access and have these functions. Calls of cuBLAS and cuDNN and copies are not counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace noisysgd::emulation {

struct Traffic {
  int64_t launches = 0;
  // What memory has to deliver and take if caches hold all that a launch touches: the distinct sectors of 32 bytes, in
  // which a GPU's memory is read and written. A sector that the launch has written is not read from memory any more.
  int64_t bytes_read = 0, bytes_written = 0;
  // All accesses of all threads.
  int64_t bytes_loaded = 0, bytes_stored = 0;

  int64_t bytes() const { return bytes_read + bytes_written; }
  Traffic& operator+=(const Traffic& other);
};

// Of the kernels run since the process started or reset_traffic(), by name without template arguments.
std::map<std::string, Traffic> traffic();
void reset_traffic();
Traffic sum_of(const std::map<std::string, Traffic>& traffic);
// A line for each name: launches, bytes read and written.
std::string list_of(const std::map<std::string, Traffic>& traffic);

#ifdef NSGD_EMULATION_RACE
void begin_traffic();
void count_access(const void* pointer, size_t bytes, bool write);
void end_traffic(const void* kernel);
#else
inline void begin_traffic() {}
inline void end_traffic(const void*) {}
#endif

}  // namespace noisysgd::emulation
