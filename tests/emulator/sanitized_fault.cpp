// sanitized_fault NAME: one planted fault that the address or undefined-behaviour sanitizer ends the process for.
#include <cstdio>

#include <noisysgd/core/tensor.h>
#include "tests/emulator/planted_faults.h"

int main(int, char** arguments) {
  using namespace noisysgd;
  const std::string name = arguments[1];
  Context context{{Backend::cuda}};
  const Tensor x = zeros(context, {256}), y = zeros(context, {256});
  if (name == "host_access") {
    std::printf("%f\n", static_cast<double>(*y.f32()));
  } else {
    test::launch_fault(context.queue, name, x.f32(), y.f32());
  }
  std::puts("nothing was found");
  return 0;
}
