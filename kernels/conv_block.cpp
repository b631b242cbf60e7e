#include <noisysgd/kernels/conv_block.h>

#include <cmath>

#include <noisysgd/kernels/convert.h>
#include <noisysgd/kernels/half.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels {

namespace {

void check_aligned(const char* name, const void* address) {
  NSGD_CHECK(reinterpret_cast<uintptr_t>(address) % 16 == 0, "conv_block: the address of {} is no multiple of 16",
             name);
}

void check_array(const char* name, ConstValues values, DType expected) {
  NSGD_CHECK(values && values.type == expected, "conv_block: {} is {}, expected an array of {}", name,
             values ? name_of(values.type) : "null", name_of(expected));
  check_aligned(name, values.address);
}

void check_optional(const char* name, ConstValues values, DType expected) {
  if (values) check_array(name, values, expected);
}

}  // namespace

void check(const ConvBlockShape& shape) {
  const ConvShape& s = shape.conv;
  check(s);
  NSGD_CHECK(s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
                 s.padding_height == 1 && s.padding_width == 1 && s.in_channels == s.out_channels,
             "conv_block: takes 3x3 convolutions of stride 1 and padding 1 with as many output as input channels");
  NSGD_CHECK(s.height == s.width && (s.height == 8 || s.height % 16 == 0),
             "conv_block: {}x{} images, expected squares of 8 or of a multiple of 16", s.height, s.width);
  NSGD_CHECK(shape.group > 0 && s.batch % shape.group == 0, "conv_block: {} samples do not divide into groups of {}",
             s.batch, shape.group);
}

void check(const ConvBlockShape& shape, const ConvBlockInput& input, Values y) {
  check(shape);
  check_array("x", input.x, DType::f16);
  check_array("y", y, DType::f16);
  check_optional("addend", input.addend, DType::f16);
  check_optional("made", input.made, DType::f16);
  NSGD_CHECK(input.factor ? input.term != nullptr : !input.term && !input.addend && !input.made,
             "conv_block: term, addend and made belong to a factor, and a factor needs a term");
  check_aligned("factor", input.factor);
  check_aligned("term", input.term);
}

void check(const ConvBlockShape& shape, const ConvBlockGradient& gradient, const ConvBlockBefore& before,
           Values grad_x) {
  check(shape);
  check_array("grad", gradient.grad, DType::bf16);
  check_array("y", gradient.y, DType::f16);
  check_optional("made", gradient.made, DType::bf16);
  check_array("x", before.x, DType::f16);
  check_optional("sum", before.sum, DType::f16);
  check_optional("other", before.other, DType::bf16);
  check_array("grad_x", grad_x, DType::bf16);
  NSGD_CHECK(gradient.factor_grad && gradient.factor_y && gradient.term && before.mean && before.sums,
             "conv_block: the constants of the gradient, the mean before it and the sums must not be null");
  const bool of_sum = before.sum && before.other && !before.factor && !before.term;
  const bool of_affine = before.factor && before.term && !before.sum && !before.other;
  NSGD_CHECK(of_sum || of_affine, "conv_block: the ReLU before is one of factor and term, or of sum and other");
  for (const float* constants :
       {gradient.factor_grad, gradient.factor_y, gradient.term, before.mean, before.factor, before.term})
    check_aligned("a constant", constants);
}

namespace cpu {
namespace {

constexpr int64_t grain = 16384;  // elements per thread that are worth starting it

// x, and x rounded to the values that T stores.
template <class T>
void round_to(Queue& queue, int64_t n, const float* x, float* y) {
  parallel_ranges(queue, n, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) y[i] = widened(rounded<T>(x[i]));
  });
}

// Calls body(i, constant) for the elements i of [N,H,W,C]; constant: index of the element's group and channel in
// [groups,C].
template <class Body>
void for_each_element(Queue& queue, const ConvBlockShape& shape, const Body& body) {
  const int64_t channels = shape.conv.in_channels, group = shape.elements() / shape.groups();
  parallel_ranges(queue, shape.elements(), grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) body(i, i / group * channels + i % channels);
  });
}

// The positions of item `item` of a group: calls body(i) with the index of their channel 0 in [N,H,W,C].
template <class Body>
void for_each_position(const ConvBlockShape& shape, int64_t group, int64_t item, const Body& body) {
  const ConvShape& s = shape.conv;
  const int64_t first = item / shape.bands() * shape.item_samples(), band = item % shape.bands() * shape.band_rows();
  for (int64_t n = first; n < std::min(first + shape.item_samples(), shape.group); ++n)
    for (int64_t t = 0; t < shape.band_rows() * s.width; ++t)
      body((((group * shape.group + n) * s.height + band) * s.width + t) * s.in_channels);
}

// Of the values y [N,H,W,C].
void compute_statistics(Queue& queue, const ConvBlockShape& shape, const float* y,
                        const ConvBlockStatistics& statistics) {
  const int64_t channels = shape.conv.in_channels, items = shape.group_items();
  parallel_blocks(queue, shape.groups() * items, shape.elements(), [&](int64_t item, int64_t) {
    const auto each = [&](const auto& body) { for_each_position(shape, item / items, item % items, body); };
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0, count = 0, m2 = 0;
      each([&](int64_t i) { sum += y[i + c], ++count; });
      each([&](int64_t i) { m2 += (y[i + c] - sum / count) * (y[i + c] - sum / count); });
      statistics.mean[item * channels + c] = sum / count;
      statistics.m2[item * channels + c] = m2;
    }
  });
}

// before.sums of the gradients grad_x [N,H,W,C].
void sum_gradients(Queue& queue, const ConvBlockShape& shape, const float* grad_x, const float* x,
                   const ConvBlockBefore& before) {
  const int64_t channels = shape.conv.in_channels, positions = shape.band_rows() * shape.conv.width;
  parallel_blocks(queue, shape.conv.batch * shape.bands(), shape.elements(), [&](int64_t band, int64_t) {
    const float* const mean = before.mean + band / shape.bands() / shape.group * channels;
    for (int64_t c = 0; c < channels; ++c) {
      double sums[2] = {};
      for (int64_t i = band * positions * channels + c; i < (band + 1) * positions * channels; i += channels) {
        sums[0] += grad_x[i];
        sums[1] += double{grad_x[i]} * (x[i] - mean[c]);
      }
      for (int term = 0; term < 2; ++term)
        before.sums[(band * channels + c) * 2 + term] = static_cast<float>(sums[term]);
    }
  });
}

}  // namespace

bool conv_block_takes(Queue&, const ConvBlockShape&) { return false; }

void conv_block_forward(Queue& queue, const ConvBlockShape& shape, const ConvBlockInput& input, const float* weight,
                        const ConvBlockStatistics& statistics, Values y) {
  check(shape, input, y);
  if (shape.conv.batch == 0) return;
  const int64_t n = shape.elements();
  Scratch scratch(queue);
  const auto [operand, addend, result, filter] =
      scratch.take<float, float, float, float>(n, input.addend ? n : 0, n, shape.conv.weights());
  convert(queue, n, input.x, operand);
  if (input.addend) convert(queue, n, input.addend, addend);
  if (input.factor) {
    for_each_element(queue, shape, [&, operand = operand, addend = addend](int64_t i, int64_t constant) {
      float value = std::fma(operand[i], input.factor[constant], input.term[constant]);
      if (input.addend) value += addend[i];
      operand[i] = value <= 0 ? 0.0f : value;
    });
    round_to<Half>(queue, n, operand, operand);
    if (input.made) convert(queue, n, operand, input.made);
  }
  round_to<Half>(queue, shape.conv.weights(), weight, filter);
  conv_forward(queue, shape.conv, operand, filter, nullptr, result);
  convert(queue, n, result, y);
  if (!statistics.mean) return;
  round_to<Half>(queue, n, result, result);
  compute_statistics(queue, shape, result, statistics);
}

void conv_block_backward_data(Queue& queue, const ConvBlockShape& shape, const float* weight,
                              const ConvBlockGradient& gradient, const ConvBlockBefore& before, Values grad_x) {
  check(shape, gradient, before, grad_x);
  if (shape.conv.batch == 0) return;
  const int64_t n = shape.elements();
  Scratch scratch(queue);
  const auto [operand, result, first, second, filter] =
      scratch.take<float, float, float, float, float>(n, n, n, n, shape.conv.weights());
  convert(queue, n, gradient.grad, operand);
  convert(queue, n, gradient.y, first);
  for_each_element(queue, shape, [&, operand = operand, y = first](int64_t i, int64_t constant) {
    operand[i] = std::fma(operand[i], gradient.factor_grad[constant],
                          std::fma(y[i], gradient.factor_y[constant], gradient.term[constant]));
  });
  round_to<BFloat16>(queue, n, operand, operand);
  if (gradient.made) convert(queue, n, operand, gradient.made);
  round_to<BFloat16>(queue, shape.conv.weights(), weight, filter);
  conv_backward_data(queue, shape.conv, filter, operand, result);

  convert(queue, n, before.x, first);
  if (before.other) {
    convert(queue, n, before.other, second);
    convert(queue, n, before.sum, operand);
  }
  for_each_element(
      queue, shape, [&, result = result, x = first, other = second, sum = operand](int64_t i, int64_t constant) {
        if (before.other) result[i] += other[i];
        const float sign = before.sum ? sum[i] : std::fma(x[i], before.factor[constant], before.term[constant]);
        if (!(sign > 0)) result[i] = 0;
      });
  convert(queue, n, result, grad_x);
  round_to<BFloat16>(queue, n, result, result);
  sum_gradients(queue, shape, result, first, before);
}

}  // namespace cpu

}  // namespace noisysgd::kernels
