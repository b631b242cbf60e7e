// 3x3 convolutions of a residual network on values stored in 16 bits, which also compute what stands before and behind
// them, so that a training step reads and writes fewer arrays. With batch norm as an affine map per ghost group:
//
//   forward    y = conv(relu(x factor + term + addend)), and the statistics of y for the batch norm behind it
//   backward   the gradient of the input of a batch norm, grad factor_grad + z factor_z + term, goes through the
//              convolution; the result is added to another gradient, masked by a ReLU, and summed for the batch norm
//              before it
//
// Values are stored in fp16 and their gradients in bf16. The operands of products, weights included, are rounded to
// these types; sums are fp32. The arrays of a call must not overlap, and their addresses are multiples of 16 bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// The convolution, with as many output as input channels (C) and outputs of the input's size (stride 1, padding 1), and
// the number of consecutive samples in a ghost group, which divides the batch. An item is the unit of work, of which
// statistics and sums come out: a band of at most 16 rows of a sample or, if images are narrower than 16, as many
// samples side by side as fill 16 columns. Items do not cross the border of a group.
struct ConvBlockShape {
  ConvShape conv;
  int64_t group;

  int64_t groups() const { return conv.batch / group; }
  int64_t elements() const { return conv.batch * conv.height * conv.width * conv.in_channels; }
  int64_t band_rows() const { return std::min<int64_t>(conv.height, 16); }
  int64_t bands() const { return (conv.height + 15) / 16; }  // of a sample
  int64_t item_samples() const { return std::max<int64_t>(16 / conv.width, 1); }
  int64_t group_items() const { return (group + item_samples() - 1) / item_samples() * bands(); }
  // The last item of a group may have fewer positions.
  int64_t item_positions() const { return band_rows() * conv.width * item_samples(); }
};
void check(const ConvBlockShape& shape);  // throws Error for shapes that the twins do not support

// Whether the ops are worth calling for the shape, on the queue's device: with 16 channels of 32x32, 32 of 16x16 or 64
// of 8x8 on a CUDA device whose blocks may have enough shared memory. The CPU's twins are for tests: they convert
// whole arrays, and take 3x3 convolutions of any image size that is 8 or a multiple of 16.
NSGD_OP(conv_block_takes, bool(Queue& queue, const ConvBlockShape& shape));

// The convolution's input, relu(x factor + term + addend). NaN stays NaN.
struct ConvBlockInput {
  ConstValues x;                  // fp16 [N,H,W,C]
  const float* factor = nullptr;  // [groups,C]; null: the input is x itself, and the other members are null
  const float* term = nullptr;    // [groups,C]
  ConstValues addend{};           // fp16 [N,H,W,C]; null: 0
  Values made{};                  // fp16 [N,H,W,C]: the input, for other readers; null: not wanted
};

// Mean and sum of squared deviations from it, of the stored values of each item: [groups,group_items,C], overwritten.
// These are the blocks that batch_norm_forward merges. Both may be null.
struct ConvBlockStatistics {
  double *mean = nullptr, *m2 = nullptr;
};

// weight [C,3,3,C]; y: fp16 [N,H,W,C], overwritten.
NSGD_OP(conv_block_forward, void(Queue& queue, const ConvBlockShape& shape, const ConvBlockInput& input,
                                 const float* weight, const ConvBlockStatistics& statistics, Values y));

// The gradient of the convolution's output y, which a batch norm behind it has normalised: grad factor_grad + y
// factor_y + term.
struct ConvBlockGradient {
  ConstValues grad;  // bf16 [N,H,W,C]: of the batch norm's output
  ConstValues y;     // fp16 [N,H,W,C]
  const float *factor_grad = nullptr, *factor_y = nullptr, *term = nullptr;  // [groups,C]
  Values made{};  // bf16 [N,H,W,C]: the gradient of y, for other readers; null: not wanted
};

// What stands before the convolution: a ReLU of x factor + term, as in ConvBlockInput, or of a sum that this batch norm
// is a part of.
struct ConvBlockBefore {
  ConstValues x;                                   // fp16 [N,H,W,C]
  const float *factor = nullptr, *term = nullptr;  // [groups,C]; of a sum: null
  const float* mean = nullptr;                     // [groups,C] of x
  // Of a sum: its ReLU's output, fp16 [N,H,W,C], and the gradient that comes from its other reader, bf16 [N,H,W,C].
  // Otherwise null.
  ConstValues sum{}, other{};
  // For each sample, band and channel the sums over positions of grad_x and of grad_x (x - mean), as stored.
  float* sums = nullptr;  // [N,bands,C,2], overwritten
};

// grad_x: bf16 [N,H,W,C], overwritten: the gradient of the ReLU's input, which is that of the convolution's input, plus
// `other`, where the ReLU's input is positive, and else 0.
NSGD_OP(conv_block_backward_data,
        void(Queue& queue, const ConvBlockShape& shape, const float* weight, const ConvBlockGradient& gradient,
             const ConvBlockBefore& before, Values grad_x));

// Throw Error for arguments that do not fit together.
void check(const ConvBlockShape& shape, const ConvBlockInput& input, Values y);
void check(const ConvBlockShape& shape, const ConvBlockGradient& gradient, const ConvBlockBefore& before,
           Values grad_x);

}  // namespace noisysgd::kernels
