// A program that measures cases of its own (docs/cuda.md):
//
//   int main(int argc, char** argv) {
//     noisysgd::bench::Cases cases;
//     cases.add({.name = "swish forward", …});
//     return noisysgd::bench::bench_main(argc, argv, cases);
//   }
#pragma once

#include <noisysgd/bench/case.h>

namespace noisysgd::bench {

// Exit status: 0 done, 1 an error in one line on standard error, 2 a bar is broken and --bars was given, 100 to 127 a
// command line that CLI11 refuses.
int bench_main(int argc, char** argv, const Cases& cases);

}  // namespace noisysgd::bench
