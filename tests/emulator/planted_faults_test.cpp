#include "tests/emulator/planted_faults.h"

#include <cmath>
#include <memory>
#include <utility>

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/cuda/event_timer.h>
#include <noisysgd/kernels/cuda/runtime.h>
#include <noisysgd/kernels/emulation/scheduler.h>
#include "tests/catch.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

struct Device256 {
  Context context{{Backend::cuda}};
  Tensor x = from_host(context, {256}, random_tensor(256, 1));
  Tensor y = from_host(context, {256}, std::vector<float>(256));

  std::string fault(const std::string& name) {
    try {
      launch_fault(context.queue, name, x.f32(), y.f32());
      context.queue.synchronize();  // a deferred kernel fails only here
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

struct Fault {
  const char *name, *message;
};

struct Deferred {
  bool before = std::exchange(emulation::options().deferred, true);
  ~Deferred() { emulation::options().deferred = before; }
};

}  // namespace

TEST_CASE("wrong cooperation of threads is an error that names the kernel and the source line") {
  using Catch::Matchers::Contains;
  Device256 device;
  for (const Fault& fault : {Fault{"divergent_barrier", "divergent barrier: thread (0,0,0)"},
                             {"missed_barrier", "exited without reaching __syncthreads"},
                             {"unequal_loops", "exited without reaching __syncthreads"},
                             {"mask_without_lane", "a mask that lacks its own lane"},
                             {"shuffle_outside_mask", "shuffle reads a lane outside its mask"},
                             {"barrier_and_warp", "deadlock"},
                             {"copy_never_awaited", "ended with cp.async copies that it never waited for"}}) {
    const std::string message = device.fault(fault.name);
    CHECK_THAT(message, Contains(fault.message) && Contains(std::string(fault.name) + "_kernel") &&
                            Contains("planted_faults.cu:"));
  }
  // The device can be used after all of them.
  launch_fault(device.context.queue, "none", device.x.f32(), device.y.f32());
  CHECK(to_host<float>(device.context, device.y)[0] == 2 * random_tensor(256, 1)[0]);
}

TEST_CASE("wrong use of asynchronous products is an error that names the kernel") {
  using Catch::Matchers::Contains;
  Device256 device;
  REQUIRE(device.fault("product").empty());
  CHECK(!std::isnan(to_host<float>(device.context, device.y)[127]));
  for (const Fault& fault : {Fault{"product_without_fence", "no wgmma.fence"},
                             {"product_not_committed", "sums of a group that it does not wait for"},
                             {"product_never_awaited", "ended with wgmma products that it never waited for"},
                             {"product_misaligned", "wgmma: misaligned"},
                             {"product_beyond_memory", "an operand outside the dynamic shared memory"},
                             {"product_operand_changed", "registers of a pending product were changed"},
                             {"product_sum_changed", "registers of a pending product were changed"},
                             {"product_wait_too_weak", "sums of a group that it does not wait for"},
                             {"product_sums_forgotten", "lack sums of a group that it waits for"}})
    CHECK_THAT(device.fault(fault.name), Contains(fault.message) && Contains(std::string(fault.name) + "_kernel"));
#ifndef NSGD_RACE_CHECK
  REQUIRE(device.fault("product_without_barrier").empty());
  CHECK(std::isnan(to_host<float>(device.context, device.y)[0]));
#endif
}

TEST_CASE("a launch that CUDA would refuse, and a host pointer handed to a kernel, are errors") {
  using Catch::Matchers::Contains;
  Device256 device;
  CHECK_THAT(device.fault("block_too_large"), Contains("scale_kernel") && Contains("invalid configuration argument"));
  CHECK_THAT(device.fault("host_pointer"), Contains("scale_kernel") && Contains("not a device pointer"));
}

TEST_CASE("a fault that shows while memory is freed is thrown by the next wait") {
  const Deferred deferred;
  using Catch::Matchers::Contains;
  Device256 device;
  launch_fault(device.context.queue, "divergent_barrier", device.x.f32(), device.y.f32());
  launch_fault(device.context.queue, "none", device.x.f32(), device.y.f32());
  auto timer = std::make_unique<kernels::cuda::EventTimer>(device.context.queue);
  timer->start();
  SECTION("of a block") {
    Tensor block(device.context, {256});
    block = {};
    device.context.allocator.release_cached();
  }
  SECTION("of an event") { timer.reset(); }
  CHECK_THROWS_WITH(device.context.queue.synchronize(), Contains("divergent_barrier_kernel"));
  CHECK(to_host<float>(device.context, device.y)[0] == 2 * random_tensor(256, 1)[0]);
}

TEST_CASE("the result of a copy is absent until it is waited for") {
  Device256 device;
#ifdef NSGD_RACE_CHECK
  CHECK_THAT(device.fault("wait_too_weak"), Catch::Matchers::Contains("uninitialised: shared memory"));
#else
  REQUIRE(device.fault("wait_too_weak").empty());
  CHECK(std::isnan(to_host<float>(device.context, device.y)[0]));
#endif
}

TEST_CASE("a stream's result is absent until the stream is waited for") {
  const Deferred deferred;
  Device256 device;
  cudaStream_t other;
  float *pinned, scaled = 0;
  NSGD_CUDA_CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
  NSGD_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&pinned), sizeof(float)));
  fill(device.context, device.y, 3.0f);
  NSGD_CUDA_CHECK(cudaMemcpyAsync(pinned, device.y.f32(), sizeof(float), cudaMemcpyDeviceToHost, other));
  NSGD_CUDA_CHECK(cudaStreamSynchronize(other));
  scaled = *pinned;
  CHECK(scaled != 3.0f);
  device.context.queue.synchronize();
  NSGD_CUDA_CHECK(cudaMemcpyAsync(pinned, device.y.f32(), sizeof(float), cudaMemcpyDeviceToHost, other));
  NSGD_CUDA_CHECK(cudaStreamSynchronize(other));
  CHECK(*pinned == 3.0f);
  NSGD_CUDA_CHECK(cudaFreeHost(pinned));
  NSGD_CUDA_CHECK(cudaStreamDestroy(other));
}

TEST_CASE("a copy from pageable memory has not arrived when the call returns, for streams that do not wait for it") {
  const Deferred deferred;
  Device256 device;
  const std::vector<float> twos(256, 2.0f);
  fill(device.context, device.y, 3.0f);
  device.context.queue.synchronize();
  NSGD_CUDA_CHECK(cudaMemcpy(device.y.f32(), twos.data(), 256 * sizeof(float), cudaMemcpyHostToDevice));
  CHECK(to_host<float>(device.context, device.y)[0] == 3.0f);
  NSGD_CUDA_CHECK(cudaStreamSynchronize(nullptr));
  CHECK(to_host<float>(device.context, device.y) == twos);
}

TEST_CASE("a captured graph replays the operations of its streams") {
  Device256 device;
  kernels::Queue& queue = device.context.queue;
  cudaStream_t stream, side;
  cudaEvent_t fork, join;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  NSGD_CUDA_CHECK(cudaStreamCreate(&stream));
  NSGD_CUDA_CHECK(cudaStreamCreate(&side));
  NSGD_CUDA_CHECK(cudaEventCreate(&fork));
  NSGD_CUDA_CHECK(cudaEventCreate(&join));
  float* memory = device.y.f32();
  NSGD_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  NSGD_CUDA_CHECK(cudaMemcpyAsync(memory, memory + 128, 256, cudaMemcpyDeviceToDevice, stream));
  NSGD_CUDA_CHECK(cudaEventRecord(fork, stream));
  NSGD_CUDA_CHECK(cudaStreamWaitEvent(side, fork));
  NSGD_CUDA_CHECK(cudaMemcpyAsync(memory + 64, memory, 256, cudaMemcpyDeviceToDevice, side));
  NSGD_CUDA_CHECK(cudaEventRecord(join, side));
  NSGD_CUDA_CHECK(cudaStreamWaitEvent(stream, join));
  CHECK(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  NSGD_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  NSGD_CUDA_CHECK(cudaGraphInstantiate(&executable, graph));
  for (const float value : {2.0f, 5.0f}) {
    copy_from_host<float>(device.context, std::vector<float>(64, value), device.y.view(128, {64}));
    queue.synchronize();
    NSGD_CUDA_CHECK(cudaGraphLaunch(executable, stream));
    NSGD_CUDA_CHECK(cudaStreamSynchronize(stream));
    CHECK(to_host<float>(device.context, device.y.view(64, {64})) == std::vector<float>(64, value));
  }
  NSGD_CUDA_CHECK(cudaGraphExecDestroy(executable));
  NSGD_CUDA_CHECK(cudaGraphDestroy(graph));
  NSGD_CUDA_CHECK(cudaEventDestroy(fork));
  NSGD_CUDA_CHECK(cudaEventDestroy(join));
  NSGD_CUDA_CHECK(cudaStreamDestroy(stream));
  NSGD_CUDA_CHECK(cudaStreamDestroy(side));
}

TEST_CASE("host code that touches a device tensor gets an error with the tensor's shape") {
  Device256 device;
  CHECK_THROWS_WITH(device.x.span<float>(), "tensor [256] is on a device: host code can only access a copy");
}

TEST_CASE("a full device is an error with the sizes") {
  Context context{{Backend::cuda}};
  const Tensor held(context, {int64_t{1} << 27});
  CHECK_THROWS_WITH(Tensor(context, {int64_t{1} << 28}),
                    "cuda:0: out of memory: 1024 MiB asked for, 512 MiB held by live tensors; a smaller batch.micro "
                    "needs less");
}

#ifdef NSGD_RACE_CHECK
TEST_CASE("races and reads of unwritten shared memory are found") {
  using Catch::Matchers::Contains;
  Device256 device;
  for (const Fault& fault : {Fault{"missing_barrier", "uninitialised: shared memory"},
                             {"missing_warp_barrier", "uninitialised: shared memory"},
                             {"missing_second_barrier", "race: shared memory"},
                             {"block_race", "race: global memory"},
                             {"unwritten_shared", "uninitialised: shared memory"}}) {
    CHECK_THAT(device.fault(fault.name), Contains(fault.message) && Contains(std::string(fault.name) + "_kernel") &&
                                             Contains("planted_faults.cu:"));
  }
  CHECK_THAT(device.fault("product_without_barrier"), Contains("uninitialised: shared memory"));
  CHECK_THAT(device.fault("product_not_published"), Contains("written without fence.proxy.async"));
}
#endif
