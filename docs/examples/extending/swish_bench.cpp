// Measures the ops of swish_op.h: swish-bench --device cuda
#include <noisysgd/bench/bench_main.h>
#include "swish_cases.h"

int main(int argc, char** argv) {
  noisysgd::bench::Cases cases;
  cases.add(swish_ops::forward_case(int64_t{1} << 24));
  cases.add(swish_ops::backward_case(4096, 4096));
  return noisysgd::bench::bench_main(argc, argv, cases);
}
