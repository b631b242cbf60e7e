// The convolutions of a ResNet's blocks on 16-bit values, fused with what stands before and behind them
// (kernels/conv_block.h).
#pragma once

#include <vector>

#include <noisysgd/bench/program/mover.h>

namespace noisysgd::bench {

// Every op and kind of input at the three stages of a ResNet for CIFAR with this batch. Empty on a device that has no
// kernels for them.
std::vector<Mover> fused_convolutions(Context& context, int64_t batch);

}  // namespace noisysgd::bench
