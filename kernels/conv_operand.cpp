#include <noisysgd/kernels/conv_operand.h>

#include <cmath>

#include <noisysgd/kernels/parallel.h>

namespace noisysgd::kernels::cpu {

void make_conv_operand(Queue& queue, const ConvShape& shape, const ConvOperand& operand, float* h) {
  check(shape, operand);
  NSGD_CHECK(operand.factor, "make_conv_operand: the operand has no factor");
  const float* const x = operand.x.f32("make_conv_operand");
  const int64_t channels = shape.in_channels, group = operand.group * shape.height * shape.width;  // positions
  constexpr int64_t worth_a_thread = 16384;                                                        // elements
  parallel_ranges(queue, shape.batch * shape.height * shape.width, worth_a_thread / channels,
                  [&](int64_t first, int64_t last) {
                    for (int64_t position = first; position < last; ++position) {
                      const float* const factor = operand.factor + position / group * channels;
                      const float* const term = operand.term + position / group * channels;
                      for (int64_t c = 0; c < channels; ++c) {
                        const float value = std::fma(x[position * channels + c], factor[c], term[c]);
                        h[position * channels + c] = value <= 0 ? 0.0f : value;
                      }
                    }
                  });
}

const float* conv_operand_array(Queue& queue, Scratch& scratch, const char* op, const ConvShape& shape,
                                const ConvOperand& operand) {
  const float* const x = operand.x.f32(op);
  if (!operand.factor) return x;
  float* const copy = scratch.take<float>(shape.batch * shape.height * shape.width * shape.in_channels);
  make_conv_operand(queue, shape, operand, copy);
  return copy;
}

}  // namespace noisysgd::kernels::cpu
