// A pseudo-random permutation of [0, n) without a buffer: position -> index in O(1), a function of (seed, epoch,
// position). Ten rounds of a balanced Feistel network with Philox round keys permute the smallest 4^b >= n (b >= 4:
// smaller networks cannot reach all orders equally). A position that maps outside [0, n) is mapped again until it is
// inside (cycle walking: Black & Rogaway, "Ciphers with arbitrary finite domains", 2002). The expected number of steps
// is below four, for tiny n 256/n.
#pragma once

#include <array>
#include <cstdint>

#include <noisysgd/kernels/philox.h>

namespace noisysgd {

class Shuffle {
 public:
  constexpr Shuffle(int64_t n, uint64_t seed, uint32_t epoch) : n_(static_cast<uint64_t>(n)) {
    while (half_bits_ < 31 && (uint64_t{1} << (2 * half_bits_)) < n_) ++half_bits_;
    const RandomStream stream{seed, epoch, 0, RandomPurpose::shuffle};
    for (uint32_t block = 0; block < keys_.size() / 4; ++block) {
      const std::array<uint32_t, 4> words = random_words(stream, block);
      for (uint32_t i = 0; i < 4; ++i) keys_[4 * block + i] = words[i];
    }
  }

  constexpr int64_t size() const { return static_cast<int64_t>(n_); }

  // The index at `position`, 0 <= position < n <= 2^62.
  constexpr int64_t operator()(int64_t position) const {
    auto value = static_cast<uint64_t>(position);
    do value = permute_domain(value);
    while (value >= n_);
    return static_cast<int64_t>(value);
  }

 private:
  static constexpr int kRounds = 10;

  constexpr uint64_t permute_domain(uint64_t value) const {
    const uint32_t mask = (uint32_t{1} << half_bits_) - 1;
    uint32_t left = static_cast<uint32_t>(value >> half_bits_) & mask;
    uint32_t right = static_cast<uint32_t>(value) & mask;
    for (int round = 0; round < kRounds; ++round) {
      const uint32_t mixed = left ^ (mix(right ^ keys_[2 * round], keys_[2 * round + 1]) & mask);
      left = right;
      right = mixed;
    }
    return uint64_t{left} << half_bits_ | right;
  }

  // Both halves of two wide products, as in a Philox round: every bit of the word reaches every bit of the result.
  static constexpr uint32_t mix(uint32_t word, uint32_t key) {
    const uint64_t first = uint64_t{0xD2511F53u} * word;
    word = static_cast<uint32_t>(first >> 32) ^ static_cast<uint32_t>(first) ^ key;
    const uint64_t second = uint64_t{0xCD9E8D57u} * word;
    return static_cast<uint32_t>(second >> 32) ^ static_cast<uint32_t>(second);
  }

  uint64_t n_;
  uint32_t half_bits_ = 4;
  std::array<uint32_t, 2 * kRounds> keys_{};
};

}  // namespace noisysgd
