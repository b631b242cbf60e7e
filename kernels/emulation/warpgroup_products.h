// The wgmma products that one thread has issued and not yet waited for. Products are computed at the wait, the last
// moment that CUDA allows. Until then their sums are NaN, so that a missing wait is noticed, and registers that must
// not change are compared with what they were. A warp computes its own 16 rows of the warpgroup's 64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include <noisysgd/kernels/emulation/scheduler.h>

namespace noisysgd::emulation {

class WarpgroupProducts {
 public:
  static constexpr int sums = 12;  // of a thread and product: m64n24

  void publish();
  void begin();
  void issue(float* d, const uint32_t* a, uint64_t b, bool accumulate, NSGD_EMULATION_HERE);
  void commit();
  // Completes the products of all groups but the last `groups_left`, whose sums must be handed_back.
  void wait(size_t groups_left, std::initializer_list<float*> handed_back, NSGD_EMULATION_HERE);
  bool pending() const { return !products_.empty(); }
  void clear();

 private:
  struct Product {
    float* d;
    const uint32_t* a;
    uint32_t a_values[4];
    uint64_t b;
    bool accumulate;
  };
  struct Sums {  // of pending products
    float* d;
    float values[sums];
    int products;
  };
  static void compute(void* const* lanes, unsigned);
  Sums* find(const float* d);

  std::vector<Product> products_;
  std::vector<size_t> groups_;  // products in each committed group
  size_t uncommitted_ = 0, completing_ = 0;
  std::vector<Sums> pending_sums_;
  std::vector<const float*> accessible_;  // sums that other code may have changed since the last begin()
  bool begun_ = false;
};

// A descriptor of an operand in dynamic shared memory (kernels/cuda/ptx.h).
uint64_t shared_operand(const void* first, uint32_t depth_step, uint32_t column_step, NSGD_EMULATION_HERE);
uint64_t shared_operand_at(uint64_t b, uint32_t bytes, NSGD_EMULATION_HERE);

}  // namespace noisysgd::emulation
