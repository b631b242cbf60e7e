// An operation that is limited by memory bandwidth, and the bytes that a call must at least read and write.
#pragma once

#include <noisysgd/bench/measure.h>

namespace noisysgd::bench {

struct Mover {
  Call run;
  double bytes;
};

}  // namespace noisysgd::bench
