#include <noisysgd/kernels/conv_second_moment.h>

#include <noisysgd/kernels/conv_operand.h>
#include <noisysgd/kernels/simd/ops.h>

namespace noisysgd::kernels::cpu {

void conv_sample_sums(Queue& queue, const ConvShape& shape, const ConvOperand& operand, const float* grad_y,
                      const SampleSums& sums, float* grad_weight) {
  check(shape, operand);
  Scratch scratch(queue);
  const float* const x = conv_operand_array(queue, scratch, "conv_sample_sums", shape, operand);
  simd::conv_sample_sums(queue, simd::simd_kernels(), shape, x, grad_y, sums, grad_weight);
}

void conv_second_moment_spatial(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                                float* grad_weight, float* second_moment) {
  simd::conv_weight_gradient(queue, simd::simd_kernels(), shape, SecondMoment::spatial, x, grad_y, grad_weight,
                             second_moment);
}

bool conv_sample_sums_bf16(Queue&, const ConvShape&, ConstValues, ConstValues, float*, float*) { return false; }

}  // namespace noisysgd::kernels::cpu
