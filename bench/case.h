// Cases of a benchmark: an op with arrays of its own, how much it moves and computes, the same in fp64, and bars.
//
//   Case relu{.name = "relu", .arrays = {{{1 << 24}}, {{1 << 24}, Use::write}}};
//   relu.op = [](Context& context, std::span<const Tensor> a) {
//     kernels::relu_forward(context.queue, a[0].elements(), a[0].f32(), a[1].f32());
//   };
//   relu.reference = [](std::span<std::vector<double>> a) {
//     for (size_t i = 0; i < a[0].size(); ++i) a[1][i] = std::max(a[0][i], 0.0);
//   };
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

enum class Use { read, write, update };  // update: read and written

// Holds fp32 numbers. Before the op is called, one that is written holds NaN, others draws from N(0,1).
struct Array {
  Shape shape;
  Use use = Use::read;
  std::function<float(float)> from_normal = {};  // applied to each draw; none: the draw itself
};

struct Case {
  std::string name;
  std::vector<Array> arrays;
  double flops = 0;                  // of one call
  std::optional<double> bytes = {};  // that a call must at least move; none: arrays() once for each direction of use
  std::optional<double> share = {};  // bar: the least share of the roof
  std::optional<double> ratio = {};  // bar: the largest ratio of its time to that of an earlier run
  double error = 1e-5;               // bar: the largest error

  // Computes on the context's device from the arrays, in their order, what the reference computes in fp64.
  std::function<void(Context& context, std::span<const Tensor> arrays)> op = {};
  std::function<void(std::span<std::vector<double>> arrays)> reference = {};

  double bytes_moved() const;
};

// Throws Error for a name that is taken, and for a case without op, reference or an array that is written.
class Cases {
 public:
  void add(Case added);
  const std::vector<Case>& all() const { return cases_; }

 private:
  std::vector<Case> cases_;
};

// The arrays of a case on a device, ready for a call of the op.
std::vector<Tensor> make_arrays(Context& context, const Case& of);

// The largest deviation of an element, relative to the larger of its expected size and the root mean square of all
// expected ones. Infinite if an element is NaN or infinite. Throws Error with the name if the sizes differ or if the
// expected values are not finite or all zero, because a comparison with them proves nothing.
double error_between(std::span<const float> actual, std::span<const double> expected, const std::string& name);

// Calls the op once on new arrays: the largest error of those that it writes.
double error_of(Context& context, const Case& of);

}  // namespace noisysgd::bench
