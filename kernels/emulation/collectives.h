// Barriers, shuffles, votes and reductions of device code, under CUDA's names.
#pragma once

#include <noisysgd/kernels/emulation/scheduler.h>

inline void __syncthreads(NSGD_EMULATION_HERE) { noisysgd::emulation::block_barrier("__syncthreads", file, line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, NSGD_EMULATION_HERE) {
  noisysgd::emulation::warp_collective(mask, "__syncwarp", nullptr, nullptr, file, line);
}

namespace noisysgd::emulation {

// Folds the predicates of the block with Fold::start and Fold::step.
template <class Fold>
int block_vote(int predicate, const char* operation, const char* file, int line) {
  struct Vote {
    int in, out;
  } vote{predicate, 0};
  block_barrier(
      operation, file, line,
      [](void** votes, int threads) {
        int result = Fold::start;
        for (int i = 0; i < threads; ++i) result = Fold::step(result, static_cast<Vote*>(votes[i])->in != 0);
        for (int i = 0; i < threads; ++i) static_cast<Vote*>(votes[i])->out = result;
      },
      &vote);
  return vote.out;
}
struct CountFold {
  static constexpr int start = 0;
  static int step(int count, bool vote) { return count + vote; }
};
struct AndFold {
  static constexpr int start = 1;
  static int step(int all, bool vote) { return all && vote; }
};
struct OrFold {
  static constexpr int start = 0;
  static int step(int any, bool vote) { return any || vote; }
};

template <class T>
T shuffle(unsigned mask, T value, int source, const char* operation, const char* file, int line) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "the GPU has no such shuffle");
  struct Exchange {
    T in, out;
    int source;
    const char* file;
    int line;
  } exchange{value, value, source, file, line};
  warp_collective(
      mask, operation,
      [](void* const* exchanges, unsigned lanes) {
        for (int i = 0; i < 32; ++i) {
          if (!(lanes >> i & 1)) continue;
          auto* own = static_cast<Exchange*>(exchanges[i]);
          if (!(lanes >> own->source & 1)) fail("shuffle reads a lane outside its mask", own->file, own->line);
          own->out = static_cast<Exchange*>(exchanges[own->source])->in;
        }
      },
      &exchange, file, line);
  return exchange.out;
}

// Folds the lanes of the mask, in their order, with Fold::step(result, value, lane, first).
template <class Fold, class Result, class T>
Result warp_fold(unsigned mask, T value, const char* operation, const char* file, int line) {
  struct Exchange {
    T in;
    Result out;
  } exchange{value, Result{}};
  warp_collective(
      mask, operation,
      [](void* const* exchanges, unsigned lanes) {
        Result result{};
        bool first = true;
        for (int i = 0; i < 32; ++i) {
          if (!(lanes >> i & 1)) continue;
          result = Fold::step(result, static_cast<Exchange*>(exchanges[i])->in, i, first);
          first = false;
        }
        for (int i = 0; i < 32; ++i) {
          if (lanes >> i & 1) static_cast<Exchange*>(exchanges[i])->out = result;
        }
      },
      &exchange, file, line);
  return exchange.out;
}
struct BallotFold {
  static unsigned step(unsigned votes, int vote, int lane, bool) { return votes | unsigned(vote != 0) << lane; }
};
struct MinimumFold {
  static int step(int least, int value, int, bool first) { return first || value < least ? value : least; }
};

}  // namespace noisysgd::emulation

inline int __syncthreads_count(int predicate, NSGD_EMULATION_HERE) {
  using namespace noisysgd::emulation;
  return block_vote<CountFold>(predicate, "__syncthreads_count", file, line);
}
inline int __syncthreads_and(int predicate, NSGD_EMULATION_HERE) {
  using namespace noisysgd::emulation;
  return block_vote<AndFold>(predicate, "__syncthreads_and", file, line);
}
inline int __syncthreads_or(int predicate, NSGD_EMULATION_HERE) {
  using namespace noisysgd::emulation;
  return block_vote<OrFold>(predicate, "__syncthreads_or", file, line);
}

// A source outside the segment of `width` lanes leaves the value as it is.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, NSGD_EMULATION_HERE) {
  const int lane = static_cast<int>(noisysgd::emulation::lane());
  return noisysgd::emulation::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync", file,
                                      line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, NSGD_EMULATION_HERE) {
  const int lane = static_cast<int>(noisysgd::emulation::lane()), source = lane ^ bits;
  return noisysgd::emulation::shuffle(mask, value, source <= (lane | (width - 1)) ? source : lane, "__shfl_xor_sync",
                                      file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, NSGD_EMULATION_HERE) {
  const int lane = static_cast<int>(noisysgd::emulation::lane()), source = lane + static_cast<int>(delta);
  return noisysgd::emulation::shuffle(mask, value, source <= (lane | (width - 1)) ? source : lane, "__shfl_down_sync",
                                      file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, NSGD_EMULATION_HERE) {
  const int lane = static_cast<int>(noisysgd::emulation::lane()), source = lane - static_cast<int>(delta);
  return noisysgd::emulation::shuffle(mask, value, source >= (lane & ~(width - 1)) ? source : lane, "__shfl_up_sync",
                                      file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, NSGD_EMULATION_HERE) {
  using namespace noisysgd::emulation;
  return warp_fold<BallotFold, unsigned>(mask, predicate, "__ballot_sync", file, line);
}
inline int __any_sync(unsigned mask, int predicate, NSGD_EMULATION_HERE) {
  using namespace noisysgd::emulation;
  return warp_fold<BallotFold, unsigned>(mask, predicate, "__any_sync", file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, NSGD_EMULATION_HERE) {
  using namespace noisysgd::emulation;
  return warp_fold<BallotFold, unsigned>(mask, predicate, "__all_sync", file, line) == mask;
}
inline int __reduce_min_sync(unsigned mask, int value, NSGD_EMULATION_HERE) {
  using namespace noisysgd::emulation;
  return warp_fold<MinimumFold, int>(mask, value, "__reduce_min_sync", file, line);
}
