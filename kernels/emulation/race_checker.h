// Finds data races and reads of unwritten shared memory in builds whose kernels are compiled with -fsanitize=thread;
// does nothing in other builds. Two accesses to one word are a race if they come from different threads, at least one
// writes, at most one is atomic, and no barrier, warp collective or atomic that both blocks accessed orders them. The
// checker keeps one writer and two readers per word, so it may miss a race, but everything that it reports is one.
#pragma once

#include <cstddef>
#include <string>

namespace noisysgd::emulation::race {

#ifdef NSGD_EMULATION_RACE
void begin_grid(int block_threads);
void begin_block(size_t block);
void add_shared(void* memory, size_t bytes);  // shared memory of the running block
void set_thread(int index);
void synchronize_block();
void synchronize_warp(int warp, unsigned mask);
void end_block();
std::string end_grid();  // the first finding, or an empty text
void access(const void* pointer, size_t bytes, bool write, void* return_address);
void atomic_access(const void* pointer, size_t bytes, void* return_address);
// Reads by an asynchronous product: what it reads must have been written before the writing thread's last publish().
void publish();
void read_by_product(const void* pointer, size_t bytes, void* return_address);
void forget_written(const void* pointer, size_t bytes);  // until written again, a read of it is a finding
#else
inline void begin_grid(int) {}
inline void begin_block(size_t) {}
inline void add_shared(void*, size_t) {}
inline void set_thread(int) {}
inline void synchronize_block() {}
inline void synchronize_warp(int, unsigned) {}
inline void end_block() {}
inline std::string end_grid() { return {}; }
inline void access(const void*, size_t, bool, void*) {}
inline void publish() {}
inline void read_by_product(const void*, size_t, void*) {}
inline void forget_written(const void*, size_t) {}
#endif

}  // namespace noisysgd::emulation::race
