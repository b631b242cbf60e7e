#include <noisysgd/bench/case.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <noisysgd/bench/measure.h>

namespace noisysgd::bench {

double Case::bytes_moved() const {
  double moved = 0;
  for (const Array& array : arrays)
    moved += (array.use == Use::update ? 2 : 1) * sizeof(float) * static_cast<double>(array.shape.elements());
  return bytes.value_or(moved);
}

void Cases::add(Case added) {
  const std::string& name = added.name;
  NSGD_CHECK(!name.empty(), "case {} of the benchmark has no name", cases_.size());
  NSGD_CHECK(std::ranges::none_of(cases_, [&](const Case& other) { return other.name == name; }),
             "case \"{}\" of the benchmark is added twice", name);
  NSGD_CHECK(added.op && added.reference, "case \"{}\" of the benchmark lacks its {}", name,
             added.op ? "reference" : "op");
  for (size_t i = 0; i < added.arrays.size(); ++i)
    NSGD_CHECK(added.arrays[i].shape.rank() > 0 && added.arrays[i].shape.elements() > 0,
               "case \"{}\" of the benchmark: array {} is empty", name, i);
  NSGD_CHECK(std::ranges::any_of(added.arrays, [](const Array& array) { return array.use != Use::read; }),
             "case \"{}\" of the benchmark writes no array", name);
  cases_.push_back(std::move(added));
}

std::vector<Tensor> make_arrays(Context& context, const Case& of) {
  std::vector<Tensor> tensors;
  for (const Array& array : of.arrays) {
    const Tensor& tensor = tensors.emplace_back(context, array.shape);
    if (array.use == Use::write) {
      fill(context, tensor, std::numeric_limits<float>::quiet_NaN());
      continue;
    }
    copy(context, random_tensor(context, tensor.elements(), static_cast<uint32_t>(tensors.size())), tensor);
    if (!array.from_normal) continue;
    std::vector<float> values = to_host<float>(context, tensor);
    std::ranges::transform(values, values.begin(), array.from_normal);
    copy_from_host<float>(context, values, tensor);
  }
  return tensors;
}

double error_between(std::span<const float> actual, std::span<const double> expected, const std::string& name) {
  NSGD_CHECK(actual.size() == expected.size(), "{}: the reference has {} elements, the op {}", name, expected.size(),
             actual.size());
  double squares = 0;
  for (const double value : expected) squares += value * value;
  NSGD_CHECK(std::isfinite(squares), "{}: a value of the reference is not finite", name);
  NSGD_CHECK(squares > 0, "{}: the reference is zero everywhere, which proves nothing", name);
  const double root_mean_square = std::sqrt(squares / static_cast<double>(expected.size()));
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(actual[i])) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, std::abs(actual[i] - expected[i]) / std::max(std::abs(expected[i]), root_mean_square));
  }
  return worst;
}

double error_of(Context& context, const Case& of) {
  const std::vector<Tensor> tensors = make_arrays(context, of);
  std::vector<std::vector<double>> expected;
  for (const Tensor& tensor : tensors) {
    const std::vector<float> values = to_host<float>(context, tensor);
    expected.emplace_back(values.begin(), values.end());
  }
  of.reference(expected);
  of.op(context, tensors);
  double worst = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::vector<float> actual = to_host<float>(context, tensors[i]);
    if (of.arrays[i].use == Use::read) {
      NSGD_CHECK(std::ranges::equal(actual, expected[i]), "{}: array {} is only read, but changed", of.name, i);
      continue;
    }
    worst = std::max(worst, error_between(actual, expected[i], message("{}, array {}", of.name, i)));
  }
  return worst;
}

}  // namespace noisysgd::bench
