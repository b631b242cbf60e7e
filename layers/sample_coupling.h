// How the samples of a training batch depend on each other in a network. This determines which batch sizes are valid
// and how a batch can be divided. The coupling of a network combines those of its layers.
#pragma once

#include <cstdint>
#include <set>

namespace noisysgd {

class SampleCoupling {
 public:
  SampleCoupling() = default;  // samples are independent
  // For a layer that normalises over all samples of a batch. least: the smallest valid batch.
  static SampleCoupling whole_batch(int64_t least);
  // For a layer that normalises over groups of `size` samples; a smaller batch is one group.
  static SampleCoupling ghosts(int64_t size, int64_t least);

  // Combines the couplings of two layers of a network.
  SampleCoupling& operator+=(const SampleCoupling& other);

  // The largest batch of at most `samples` samples that every layer accepts: one group, or whole groups. 0: none.
  int64_t usable(int64_t samples) const;
  // True if passes over consecutive parts of `samples` samples give the same result as one pass over a usable batch.
  bool allows_parts_of(int64_t samples) const;
  // True if all samples of a batch depend on each other.
  bool of_whole_batch() const { return whole_batch_; }
  // The number of consecutive samples that do not depend on the others in any batch: the least common multiple of the
  // layers' group sizes. 0: no samples are coupled, or all are.
  int64_t ghost_size() const;

 private:
  bool whole_batch_ = false;
  std::set<int64_t> ghost_sizes_;
  int64_t least_ = 1;
};

}  // namespace noisysgd
