// 3x3 convolutions with padding 1 and stride 1 with the same small number of input and output channels, on tensor
// cores, operands rounded to tf32: those of the first two stages of the ResNets for CIFAR (32x32 images of 16 channels,
// 16x16 of 32). They do little arithmetic per byte. Libraries, whose tiles are made for more channels, need several
// times as long as moving the bytes takes.
#pragma once

#include <noisysgd/kernels/conv.h>

namespace noisysgd::kernels::cuda {

// y = x * w. Returns false, having done nothing, for other shapes, under fp32, and for addresses that are not multiples
// of 16 bytes.
bool narrow_forward(Queue& queue, const ConvShape& shape, ConstValues x, const float* weight, Values y);
// The gradient of x, with the same conditions.
bool narrow_backward_data(Queue& queue, const ConvShape& shape, const float* weight, ConstValues grad_y,
                          Values grad_x);

}  // namespace noisysgd::kernels::cuda
