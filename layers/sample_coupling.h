// How the samples of a training batch influence each other in a network, and so which batches it takes and how they may
// be cut. A network has one: that of all its layers together.
#pragma once

#include <cstdint>
#include <set>

namespace noisysgd {

class SampleCoupling {
 public:
  SampleCoupling() = default;  // samples are independent
  // Of a layer that normalises over all samples of a batch, which must be `least` or more.
  static SampleCoupling whole_batch(int64_t least);
  // Of one that normalises over groups of so many samples; a smaller batch is one group.
  static SampleCoupling ghosts(int64_t size, int64_t least);

  // Of a network with layers of both.
  SampleCoupling& operator+=(const SampleCoupling& other);

  // The largest batch of at most so many samples that every layer takes: one group, or whole groups; 0: none.
  int64_t usable(int64_t samples) const;
  // Passes over consecutive parts of so many samples give what one pass over a usable batch does.
  bool allows_parts_of(int64_t samples) const;
  // True if nothing less than a whole batch is independent of the rest.
  bool of_whole_batch() const { return whole_batch_; }
  // Consecutive samples that are independent of all others in every batch: the least common multiple of the layers'
  // groups. 0: no samples are coupled, or all are.
  int64_t ghost_size() const;

 private:
  bool whole_batch_ = false;
  std::set<int64_t> ghost_sizes_;
  int64_t least_ = 1;
};

}  // namespace noisysgd
