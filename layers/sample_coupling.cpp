#include <noisysgd/layers/sample_coupling.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace noisysgd {

namespace {

// The least common multiple; beyond 64 bits a number that no batch size is a multiple of.
int64_t common_multiple(int64_t a, int64_t b) {
  int64_t multiple = 0;
  return __builtin_mul_overflow(a / std::gcd(a, b), b, &multiple) ? std::numeric_limits<int64_t>::max() : multiple;
}

}  // namespace

SampleCoupling SampleCoupling::whole_batch(int64_t least) {
  SampleCoupling coupling;
  coupling.whole_batch_ = true;
  coupling.least_ = least;
  return coupling;
}

SampleCoupling SampleCoupling::ghosts(int64_t size, int64_t least) {
  SampleCoupling coupling;
  coupling.ghost_sizes_ = {size};
  coupling.least_ = least;
  return coupling;
}

SampleCoupling& SampleCoupling::operator+=(const SampleCoupling& other) {
  whole_batch_ |= other.whole_batch_;
  ghost_sizes_.insert(other.ghost_sizes_.begin(), other.ghost_sizes_.end());
  least_ = std::max(least_, other.least_);
  return *this;
}

int64_t SampleCoupling::ghost_size() const {
  if (whole_batch_ || ghost_sizes_.empty()) return 0;
  return std::accumulate(ghost_sizes_.begin(), ghost_sizes_.end(), int64_t{1}, common_multiple);
}

bool SampleCoupling::allows_parts_of(int64_t samples) const {
  return !whole_batch_ && (ghost_sizes_.empty() || samples % ghost_size() == 0);
}

// A batch must be a multiple of every ghost size smaller than it; for every other ghost size it is one group.
int64_t SampleCoupling::usable(int64_t samples) const {
  int64_t unit = 1, best = 0;  // unit: least common multiple of the ghost sizes so far
  for (auto size = ghost_sizes_.begin();; ++size) {
    const int64_t largest = size == ghost_sizes_.end() ? samples : std::min(samples, *size);
    best = std::max(best, largest / unit * unit);
    if (size == ghost_sizes_.end() || samples <= *size) break;
    unit = common_multiple(unit, *size);
  }
  return best >= least_ ? best : 0;
}

}  // namespace noisysgd
