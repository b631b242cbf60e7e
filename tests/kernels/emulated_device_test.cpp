// What a machine's driver, GPU and memory can be wrong about, each one clear error: shown by the emulated device.
#include "tests/emulation/emulated_device.h"

#include "core/tensor.h"
#include "kernels/cuda/device.h"
#include "tests/catch.h"
#include "tests/emulation/device_memory.h"

using namespace noisysgd;
using emulation::DifferentDevice;
using emulation::EmulatedDevice;

namespace {
std::string why_unusable(const EmulatedDevice& device, int index = 0) {
  const DifferentDevice different(device);
  return kernels::cuda::why_unusable(index);
}
}  // namespace

TEST_CASE("why a device cannot be used is said in one line") {
  CHECK(why_unusable({}) == "");
  CHECK(why_unusable({}, 1) == "this machine has 1 CUDA device, numbered from 0");
  CHECK(why_unusable({.driver = cudaErrorInsufficientDriver, .driver_version = 12040}) ==
        "the NVIDIA driver knows CUDA up to 12.4, this build is one of CUDA 13.0: a newer driver is needed");
  CHECK(why_unusable({.driver = cudaErrorInsufficientDriver, .driver_version = 0}) ==
        "this machine has no NVIDIA driver");
  CHECK(why_unusable({.driver = cudaErrorNoDevice}) == "this machine has no CUDA device");
  CHECK(why_unusable({.major = 7, .minor = 5}) ==
        "its compute capability is 7.5, and 8.0 is the least that the kernels run on");
  CHECK(why_unusable({.major = 8, .minor = 0}) == "");
  const DifferentDevice old({.major = 7, .minor = 5});
  CHECK_THROWS_WITH(Context({Backend::cuda}), Catch::Matchers::Contains("device cuda:0: its compute capability"));
}

TEST_CASE("a full device says what was asked for and what is held") {
  // Beside what queues of other tests hold: 4 MiB for cuBLAS, and 8 MiB.
  const DifferentDevice small({.major = 8, .memory_bytes = emulation::device_bytes_held() + (size_t{12} << 20)});
  Context context({Backend::cuda});
  const Tensor held(context, {1 << 20});
  CHECK_THROWS_WITH(Tensor(context, {2 << 20}),
                    Catch::Matchers::Contains("cuda:0: out of memory: 8 MiB asked for, 4 MiB held by live tensors"));
  CHECK_THROWS_WITH(context.queue.workspace(size_t{16} << 20),
                    Catch::Matchers::Contains("out of memory for a workspace of 16777216 bytes"));
}
