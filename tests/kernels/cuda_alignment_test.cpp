// Ops that process four elements at a time where addresses and channel counts allow it, against the same ops on the
// CPU: sizes around a vector, and arrays that begin at any element.
#include <algorithm>
#include <cmath>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/pool.h>
#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

// n elements from element `shift` of an aligned allocation on, among others that no op may change.
template <class T>
class Shifted {
 public:
  Shifted(const std::vector<T>& values, int64_t shift) : shift_(shift), array_(surrounded(values, shift)) {}
  T* on(const Queue& queue) { return array_.on(queue) + shift_; }
  bool same_bits() const { return array_.same_bits(); }
  std::string difference(Tolerance tolerance = {}) const { return array_.difference(tolerance); }

 private:
  static std::vector<T> surrounded(const std::vector<T>& values, int64_t shift) {
    std::vector<T> all(values.size() + 8, T{1});
    std::ranges::copy(values, all.begin() + shift);
    return all;
  }
  int64_t shift_;
  Mirrored<T> array_;
};
using Floats = Shifted<float>;

}  // namespace

TEST_CASE("elementwise ops agree to the bit at any alignment") {
  BothQueues both;
  const auto [in, out] = GENERATE(table<int64_t, int64_t>({{0, 0}, {4, 0}, {0, 1}, {2, 0}, {3, 3}}));
  for (const int64_t n : {0, 1, 3, 4, 5, 127, 128, 129, 1023, 1029}) {
    CAPTURE(n, in, out);
    Floats x(random_tensor(n, 1), in), grad(random_tensor(n, 2), in), filled(nan_tensor(n), out),
        relu(nan_tensor(n), out), relu_grad(nan_tensor(n), out), grad_in_place(random_tensor(n, 2), out),
        sum(random_tensor(n, 3), out), squared(random_tensor(n, 5), out), scaled(nan_tensor(n), out),
        in_place(random_tensor(n, 4), in), dropped(nan_tensor(n), out), dropped_later(nan_tensor(n), out);
    const RandomStream stream{7, 3, 5, RandomPurpose::dropout};
    both.run([&](Queue& q) {
      fill(q, n, 1.5f, filled.on(q));
      relu_forward(q, n, x.on(q), relu.on(q));
      relu_backward(q, n, x.on(q), grad.on(q), relu_grad.on(q));
      relu_backward(q, n, x.on(q), grad_in_place.on(q), grad_in_place.on(q));
      add(q, n, x.on(q), sum.on(q));
      add_square(q, n, x.on(q), squared.on(q));
      scale(q, n, -1.7f, x.on(q), scaled.on(q));
      scale(q, n, 0.3f, in_place.on(q), in_place.on(q));
      dropout(q, n, 0.3f, stream, 8, x.on(q), dropped.on(q));
      dropout(q, n, 0.3f, stream, 7, x.on(q), dropped_later.on(q));
    });
    for (const Floats* result :
         {&filled, &relu, &relu_grad, &grad_in_place, &sum, &squared, &scaled, &in_place, &dropped, &dropped_later})
      CHECK(result->same_bits());
  }
}

TEST_CASE("elementwise ops agree on more vectors than a grid has threads") {
  BothQueues both;
  constexpr int64_t most_threads = int64_t{2048} * 256;  // of a grid (kernels/cuda/grid.h, for device code alone)
  const int64_t n = 4 * most_threads + 4 * 1000 + 3;
  Mirrored<float> x(random_tensor(n, 1)), scaled(nan_tensor(n));
  both.run([&](Queue& q) { scale(q, n, -1.7f, x.on(q), scaled.on(q)); });
  CHECK(scaled.same_bits());
}

TEST_CASE("the option-A shortcut agrees for whole vectors of channels and others") {
  BothQueues both;
  const auto [in, out] = GENERATE(table<int64_t, int64_t>({{0, 0}, {1, 0}, {0, 1}}));
  for (const PadShape& s : {PadShape{0, 5, 5, 4, 2, 8},
                            {1, 1, 1, 4, 1, 4},
                            {3, 7, 5, 8, 2, 12},
                            {2, 5, 6, 4, 2, 6},
                            {2, 5, 6, 6, 2, 8},
                            {2, 9, 10, 20, 3, 52},
                            {2100, 2, 2, 4, 2, 8}}) {
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.stride, s.out_channels, in, out);
    const int64_t size = s.batch * s.height * s.width * s.in_channels;
    const int64_t padded_size =
        s.batch * ((s.height + s.stride - 1) / s.stride) * ((s.width + s.stride - 1) / s.stride) * s.out_channels;
    Floats x(random_tensor(size, 1), in), padded(nan_tensor(padded_size), out), grad(random_tensor(padded_size, 2), in),
        grad_x(nan_tensor(size), out);
    both.run([&](Queue& q) {
      pad_channels_forward(q, s, x.on(q), padded.on(q));
      pad_channels_backward(q, s, grad.on(q), grad_x.on(q));
    });
    CHECK(padded.same_bits());
    CHECK(grad_x.same_bits());
  }
}

TEST_CASE("pooling agrees for whole vectors of channels and others") {
  BothQueues both;
  const auto [in, out, of_index] =
      GENERATE(table<int64_t, int64_t, int64_t>({{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}}));
  for (const PoolShape& s : {PoolShape{0, 4, 4, 4, 2, 2, 0},
                             {1, 1, 1, 4, 1, 1, 0},
                             {3, 7, 9, 8, 3, 2, 1},
                             {3, 7, 9, 6, 3, 2, 1},
                             {2, 8, 8, 36, 2, 2, 0},
                             {2, 11, 7, 4, 3, 1, 1},
                             {1, 17, 17, 4, 16, 1, 8},
                             {2, 5, 5, 12, 5, 5, 2},
                             {2100, 2, 2, 4, 2, 1, 1}}) {
    CAPTURE(s.batch, s.height, s.width, s.channels, s.kernel, s.stride, s.padding, in, out, of_index);
    const int64_t positions = s.height * s.width, size = s.batch * positions * s.channels;
    const int64_t out_size = s.batch * s.out_height() * s.out_width() * s.channels;
    std::vector<float> ties = random_tensor(size, 1);
    for (float& value : ties) value = std::round(4 * value);  // ties occur, so the first maximum matters
    Floats x(ties, in), y(nan_tensor(out_size), out), no_index(nan_tensor(out_size), out),
        average(nan_tensor(out_size), out), grad(random_tensor(out_size, 2), in), max_grad(nan_tensor(size), out),
        average_grad(nan_tensor(size), out), mean(nan_tensor(s.batch * s.channels), out),
        mean_of(random_tensor(s.batch * s.channels, 3), in), mean_grad(nan_tensor(size), out);
    Shifted<uint8_t> index(std::vector<uint8_t>(static_cast<size_t>(out_size), 0xff), of_index);
    both.run([&](Queue& q) {
      max_pool_forward(q, s, x.on(q), y.on(q), index.on(q));
      max_pool_forward(q, s, x.on(q), no_index.on(q), nullptr);
      max_pool_backward(q, s, index.on(q), grad.on(q), max_grad.on(q));
      average_pool_forward(q, s, x.on(q), average.on(q));
      average_pool_backward(q, s, grad.on(q), average_grad.on(q));
      global_average_pool_forward(q, s.batch, positions, s.channels, x.on(q), mean.on(q));
      global_average_pool_backward(q, s.batch, positions, s.channels, mean_of.on(q), mean_grad.on(q));
    });
    CHECK(y.same_bits());
    CHECK(no_index.same_bits());
    CHECK(index.same_bits());
    const double windows = std::ceil(static_cast<double>(s.kernel) / static_cast<double>(s.stride));
    CHECK(max_grad.difference({.terms = windows * windows}) == "");
    CHECK(average.difference({.terms = static_cast<double>(s.kernel * s.kernel)}) == "");
    CHECK(average_grad.difference({.terms = windows * windows}) == "");
    CHECK(mean.difference({.terms = static_cast<double>(positions)}) == "");
    CHECK(mean_grad.difference() == "");
  }
}
