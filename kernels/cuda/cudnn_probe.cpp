#include <noisysgd/kernels/cuda/cudnn_probe.h>

#include <algorithm>

#include <noisysgd/kernels/memory.h>
#include <noisysgd/kernels/scratch.h>
#include <noisysgd/kernels/signs.h>

namespace noisysgd::kernels::cudnn {

namespace {

constexpr int64_t most_compared = int64_t{1} << 18;  // elements of the result that are compared, at most
constexpr float longer = 1 + 0x1p-12f;               // becomes 1 in tf32, by rounding and by truncation

}  // namespace

Probe::Probe(Queue& queue, Operation operation, const ConvShape& shape)
    : queue_(queue), result_(result_of(operation)), sizes_(tensor_sizes(shape)) {
  for (size_t i = 0; i < 3; ++i) tensors_[i] = queue.allocate(static_cast<size_t>(sizes_[i]) * sizeof(float));
}

bool Probe::has_memory() const {
  return std::ranges::all_of(tensors_, [](const auto& tensor) { return tensor != nullptr; });
}

std::vector<float> Probe::result(const Convolution& convolution, const Plan& plan, float scale) const {
  std::array<float*, 3> xwy{};
  for (size_t i = 0; i < 3; ++i) {
    xwy[i] = static_cast<float*>(tensors_[i].get());
    if (i != result_)
      multiply_signs(queue_,
                     {.samples = 1,
                      .positions = 1,
                      .channels = sizes_[i],
                      .grain = SignGrain::element,
                      .scale = scale,
                      .stream = {.tensor = static_cast<uint32_t>(i)}},
                     nullptr, xwy[i]);
  }
  Scratch scratch(queue_);
  std::byte* const workspace = scratch.take<std::byte>(static_cast<int64_t>(plan.workspace_bytes));
  with_reserve(queue_, [&] { convolution.execute(plan, xwy[0], xwy[1], xwy[2], workspace); });
  std::vector<float> values(static_cast<size_t>(std::min(sizes_[result_], most_compared)));
  copy_to_host(queue_, values.size() * sizeof(float), xwy[result_], values.data());
  return values;
}

bool Probe::is_fp32(const Convolution& convolution, const Plan& plan) const {
  const std::vector<float> of_ones = result(convolution, plan, 1), of_longer = result(convolution, plan, longer);
  double error_squared = 0, expected_squared = 0;
  for (size_t i = 0; i < of_ones.size(); ++i) {
    const double expected = double{longer} * double{longer} * double{of_ones[i]};
    error_squared += (of_longer[i] - expected) * (of_longer[i] - expected);
    expected_squared += expected * expected;
  }
  // Rounding only one operand gives an error of 2^-12; the rounding of fp32 sums, even long ones, gives much less.
  return error_squared <= 0x1p-13 * 0x1p-13 * expected_squared;
}

}  // namespace noisysgd::kernels::cudnn
