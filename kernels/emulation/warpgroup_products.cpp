#include <noisysgd/kernels/emulation/warpgroup_products.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include <noisysgd/kernels/emulation/matrix_multiply.h>
#include <noisysgd/kernels/emulation/race_checker.h>
#include <noisysgd/kernels/emulation/tensor_core_sum.h>

namespace noisysgd::emulation {

namespace {

constexpr int depth = 16, columns = 24, rows = 16;  // rows: of a warp
constexpr uint32_t pending_bits = 0x7fabcdefu;      // a NaN, in the sums of pending products

// Without swizzling, b stored along its columns: cores of 8 rows of 8 columns, 128 bytes in a row.
struct SharedOperand {
  uint32_t first, depth_step, column_step;  // bytes

  explicit SharedOperand(uint64_t descriptor)
      : first(field(descriptor)), depth_step(field(descriptor >> 16)), column_step(field(descriptor >> 32)) {}
  static uint32_t field(uint64_t bits) { return static_cast<uint32_t>(bits & 0x3fffu) << 4; }

  // Of the 8 elements in row k and columns 8 j and on.
  uint32_t place(int k, int j) const {
    return first + static_cast<uint32_t>(k / 8) * depth_step + static_cast<uint32_t>(k % 8) * 16 +
           static_cast<uint32_t>(j) * column_step;
  }
};

const char* shared_bytes(uint32_t place) { return static_cast<const char*>(dynamic_shared()) + place; }

// The lanes share the reads of the operand among them.
void record_reads(uint64_t b, void* return_address) {
  const SharedOperand operand(b);
  for (int i = static_cast<int>(lane()); i < depth * columns / 8; i += 32)
    race::read_by_product(shared_bytes(operand.place(i % depth, i / depth)), 16, return_address);
}

}  // namespace

uint64_t shared_operand(const void* first, uint32_t depth_step, uint32_t column_step, const char* file, int line) {
  const auto offset = static_cast<const char*>(first) - static_cast<const char*>(dynamic_shared());
  if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(dynamic_shared_bytes())) {
    fail("wgmma: an operand outside the dynamic shared memory", file, line);
  }
  if (offset % 16 != 0 || depth_step % 16 != 0 || column_step % 16 != 0) fail("wgmma: misaligned", file, line);
  constexpr uint32_t limit = 0x4000 << 4;
  if (depth_step >= limit || column_step >= limit) fail("wgmma: a step is too long", file, line);
  return static_cast<uint64_t>(offset) >> 4 | uint64_t{depth_step >> 4} << 16 | uint64_t{column_step >> 4} << 32;
}

uint64_t shared_operand_at(uint64_t b, uint32_t bytes, const char* file, int line) {
  if (bytes % 16 != 0) fail("wgmma: misaligned", file, line);
  return b + bytes / 16;
}

WarpgroupProducts::Sums* WarpgroupProducts::find(const float* d) {
  const auto found = std::ranges::find(pending_sums_, d, [](const Sums& s) { return s.d; });
  return found == pending_sums_.end() ? nullptr : &*found;
}

void WarpgroupProducts::publish() { race::publish(); }

void WarpgroupProducts::begin() {
  begun_ = true;
  accessible_.clear();
}

void WarpgroupProducts::issue(float* d, const uint32_t* a, uint64_t b, bool accumulate, const char* file, int line) {
  if (!begun_ || std::ranges::find(accessible_, d) != accessible_.end()) {
    fail("wgmma: no wgmma.fence since other code could access its sums", file, line);
  }
  if (SharedOperand(b).place(depth - 1, columns / 8 - 1) + 16 > dynamic_shared_bytes()) {
    fail("wgmma: an operand outside the dynamic shared memory", file, line);
  }
  record_reads(b, __builtin_return_address(0));
  Sums* pending = find(d);
  if (!pending) {
    pending = &pending_sums_.emplace_back(Sums{d, {}, 0});
    std::copy_n(d, sums, pending->values);
    std::fill_n(d, sums, std::bit_cast<float>(pending_bits));
  }
  ++pending->products;
  products_.push_back({d, a, {a[0], a[1], a[2], a[3]}, b, accumulate});
  ++uncommitted_;
}

void WarpgroupProducts::commit() {
  groups_.push_back(uncommitted_);
  uncommitted_ = 0;
}

// lanes: the warp's WarpgroupProducts, of which the first completing_ products are computed.
void WarpgroupProducts::compute(void* const* lanes, unsigned) {
  const auto of = [&](int l) -> WarpgroupProducts& { return *static_cast<WarpgroupProducts*>(lanes[l]); };
  for (size_t i = 0; i < of(0).completing_; ++i) {
    const Product& first = of(0).products_[i];
    float matrix_a[rows][depth], matrix_b[columns][depth];
    for (int l = 0; l < 32; ++l) {
      const WarpgroupProducts& own = of(l);
      if (own.completing_ != of(0).completing_ || own.products_[i].b != first.b ||
          own.products_[i].accumulate != first.accumulate) {
        fail("wgmma: the lanes of a warp issued different products", __FILE__, __LINE__);
      }
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < 2; ++v)
          matrix_a[l / 4 + r % 2 * 8][l % 4 * 2 + v + r / 2 * 8] =
              bf16_value(own.products_[i].a[r] >> (16 * v) & 0xffffu);
    }
    const SharedOperand operand(first.b);
    for (int k = 0; k < depth; ++k)
      for (int j = 0; j < columns / 8; ++j) {
        uint16_t elements[8];
        std::memcpy(elements, shared_bytes(operand.place(k, j)), sizeof elements);
        for (int n = 0; n < 8; ++n) matrix_b[8 * j + n][k] = bf16_value(elements[n]);
      }
    for (int l = 0; l < 32; ++l) {
      float* values = of(l).find(of(l).products_[i].d)->values;
      for (int s = 0; s < sums; ++s) {
        const int row = l / 4 + s / 2 % 2 * 8, column = s / 4 * 8 + l % 4 * 2 + s % 2;
        values[s] = tensor_core_sum(first.accumulate ? values[s] : 0.0f, matrix_a[row], matrix_b[column]);
      }
    }
  }
}

void WarpgroupProducts::wait(size_t groups_left, std::initializer_list<float*> handed_back, const char* file,
                             int line) {
  completing_ = 0;
  while (groups_.size() > groups_left) {
    completing_ += groups_.front();
    groups_.erase(groups_.begin());
  }
  for (size_t i = 0; i < completing_; ++i) {
    const Product& product = products_[i];
    record_reads(product.b, __builtin_return_address(0));
    const auto changed = [](float v) { return std::bit_cast<uint32_t>(v) != pending_bits; };
    if (!std::equal(product.a, product.a + 4, product.a_values) || std::any_of(product.d, product.d + sums, changed)) {
      fail("wgmma: registers of a pending product were changed", file, line);
    }
  }
  warp_collective(~0u, "wgmma.wait_group", compute, this, file, line);
  for (size_t i = 0; i < completing_; ++i) --find(products_[i].d)->products;
  products_.erase(products_.begin(), products_.begin() + static_cast<std::ptrdiff_t>(completing_));
  for (float* d : handed_back) {
    Sums* const pending = find(d);
    if (!pending) continue;
    if (pending->products > 0) fail("wgmma.wait_group: sums of a group that it does not wait for", file, line);
    std::copy_n(pending->values, sums, d);
    accessible_.push_back(d);
    pending_sums_.erase(pending_sums_.begin() + (pending - pending_sums_.data()));
  }
  if (std::ranges::any_of(pending_sums_, [](const Sums& s) { return s.products == 0; })) {
    fail("wgmma.wait_group: its arguments lack sums of a group that it waits for", file, line);
  }
}

void WarpgroupProducts::clear() {
  products_.clear();
  groups_.clear();
  pending_sums_.clear();
  accessible_.clear();
  uncommitted_ = 0;
  begun_ = false;
}

}  // namespace noisysgd::emulation
