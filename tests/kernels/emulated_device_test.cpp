// What a machine's driver, GPU and memory can be wrong about, each one clear error: shown by the emulated device.
#include <noisysgd/kernels/emulation/emulated_device.h>

#include <noisysgd/core/step_graph.h>
#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/device.h>
#include <noisysgd/kernels/cuda/runtime.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/emulation/cudnn.h>
#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/scheduler.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/scratch.h>
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using emulation::DifferentDevice;
using emulation::EmulatedDevice;

namespace {
std::string why_unusable(const EmulatedDevice& device, int index = 0) {
  const DifferentDevice different(device);
  return kernels::cuda::why_unusable(index);
}

// As an op with this many bytes of scratch memory does.
void take(Context& context, size_t bytes) {
  kernels::Scratch scratch(context.queue);
  scratch.take<std::byte>(static_cast<int64_t>(bytes));
}
}  // namespace

TEST_CASE("the reason why a device cannot be used is one line") {
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

TEST_CASE("a full device is an error with the bytes requested and held") {
  // In addition to the memory of other tests' queues: 4 MiB for cuBLAS, and 8 MiB.
  const DifferentDevice small({.major = 8, .memory_bytes = emulation::device_bytes_held() + (size_t{12} << 20)});
  Context context({Backend::cuda});
  const Tensor held(context, {1 << 20});
  CHECK_THROWS_WITH(Tensor(context, {2 << 20}),
                    Catch::Matchers::Contains("cuda:0: out of memory: 8 MiB asked for, 4 MiB held by live tensors"));
  CHECK_THROWS_WITH(take(context, size_t{16} << 20),
                    Catch::Matchers::Contains("out of memory for 16777216 bytes of scratch memory"));
}

TEST_CASE("asynchronous products are used on request, and on devices of compute capability 9.0 alone") {
  using kernels::Queue;
  CHECK(Queue({Backend::cuda}).cuda().has_wgmma());
  CHECK(!Queue({Backend::cuda}).cuda().wgmma());
  const test::Variable chosen("NSGD_WGMMA", "1");
  CHECK(Queue({Backend::cuda}).cuda().wgmma());
  for (const auto& [major, minor] : {std::pair(8, 0), {8, 9}, {10, 0}, {12, 0}}) {
    const DifferentDevice other({.major = major, .minor = minor});
    CHECK(!Queue({Backend::cuda}).cuda().has_wgmma());
    CHECK(!Queue({Backend::cuda}).cuda().wgmma());
  }
}

TEST_CASE("host memory may be changed right after it was copied to the device") {
  const bool before = std::exchange(emulation::options().deferred, true);
  Context context({Backend::cuda});
  const Tensor tensor(context, {64});
  std::vector<float> values(64, 1.0f);
  copy_from_host<float>(context, values, tensor);
  std::fill(values.begin(), values.end(), 2.0f);
  CHECK(to_host<float>(context, tensor) == std::vector<float>(64, 1.0f));
  emulation::options().deferred = before;
}

TEST_CASE("scratch gets the cached memory of freed tensors") {
  const DifferentDevice small({.major = 8, .memory_bytes = emulation::device_bytes_held() + (size_t{12} << 20)});
  Context context({Backend::cuda});
  { const Tensor freed(context, {1 << 20}); }
  CHECK(context.allocator.use().reserved == size_t{4} << 20);
  CHECK_NOTHROW(take(context, size_t{6} << 20));
  CHECK(context.allocator.use().reserved == 0);
}

TEST_CASE("a kernel whose code finds no room is an out-of-memory error after cached memory is released") {
  const DifferentDevice small({.major = 8,
                               .memory_bytes = emulation::device_bytes_held() + (size_t{12} << 20),
                               .launch_bytes = size_t{6} << 20});
  Context context({Backend::cuda});
  const Tensor tensor(context, {1});
  { const Tensor freed(context, {1 << 20}); }
  CHECK_NOTHROW(fill(context, tensor, 1.0f));
  const Tensor held(context, {1 << 20});
  CHECK_THROWS_AS(fill(context, tensor, 1.0f), OutOfMemory);
}

TEST_CASE("a library without room is an out-of-memory error after cached memory is released") {
  const test::TemporaryFolder cache;
  const test::Variable on("NSGD_CUDNN", "on"), folder("NSGD_CACHE", cache.path().string());
  const DifferentDevice small({.major = 8,
                               .memory_bytes = emulation::device_bytes_held() + (size_t{12} << 20),
                               .launch_bytes = size_t{6} << 20});
  Context context({Backend::cuda});
  context.queue.set_precision(kernels::Precision::tf32);
  const kernels::ConvShape shape{1, 4, 4, 4, 4, 3, 3, 1, 1, 1, 1};
  const Tensor x(context, {64}), w(context, {shape.weights()}), y(context, {64});
  const auto multiply = [&] {  // by cuBLAS
    kernels::gemm(context.queue, kernels::Transpose::no, kernels::Transpose::no, 8, 8, 8, 1, x.f32(), x.f32(), 0,
                  y.f32());
  };
  const auto convolve = [&](const kernels::ConvShape& shape) {
    const int64_t before = emulation::cudnn_use().executions;
    kernels::conv_forward(context.queue, shape, x.f32(), w.f32(), nullptr, y.f32());
    return emulation::cudnn_use().executions > before;
  };
  { const Tensor freed(context, {1 << 20}); }
  CHECK_NOTHROW(multiply());
  {
    const Tensor held(context, {1 << 20});
    CHECK_THROWS_AS(convolve(shape), OutOfMemory);  // no handle
  }
  CHECK(convolve(shape));
  kernels::ConvShape other = shape;
  other.out_channels = 3;
  {
    const Tensor held(context, {1 << 20});
    CHECK_THROWS_AS(multiply(), OutOfMemory);
    CHECK_THROWS_AS(convolve(shape), OutOfMemory);  // no memory for executing a plan
    CHECK_THROWS_AS(convolve(other), OutOfMemory);  // no memory for making a plan
  }
  CHECK(convolve(other));
}

TEST_CASE("a recorded step whose workspace was lost to a failure is issued before it is recorded again") {
  const DifferentDevice small({.major = 8, .memory_bytes = emulation::device_bytes_held() + (size_t{12} << 20)});
  Context context({Backend::cuda});
  StepGraphs<int> graphs(context, true);
  const auto step = [&] { graphs.run(1, true, [&] { take(context, size_t{4} << 20); }); };
  step();
  step();
  CHECK_THROWS_AS(take(context, size_t{16} << 20), OutOfMemory);
  CHECK_NOTHROW(step());
  CHECK_NOTHROW(step());
  CHECK(graphs.counts().issued == 2);
  CHECK(graphs.counts().recorded == 2);
  CHECK(graphs.counts().replayed == 2);
}

TEST_CASE("steps whose graph finds no room after cached memory is released are issued op by op") {
  const DifferentDevice small({.major = 8,
                               .memory_bytes = emulation::device_bytes_held() + (size_t{12} << 20),
                               .launch_bytes = size_t{6} << 20});
  Context context({Backend::cuda});
  StepGraphs<int> graphs(context, true);
  int calls = 0;  // one for a step that is recorded or issued, two for one that is recorded in vain
  const auto step = [&](int kind) { graphs.run(kind, true, [&] { ++calls; }); };
  step(1);
  { const Tensor freed(context, {1 << 20}); }
  step(1);
  CHECK(calls == 2);
  CHECK(graphs.counts().replayed == 1);
  const Tensor held(context, {1 << 20});
  for (int i = 0; i < 3; ++i) step(2);
  CHECK(calls == 2 + 1 + 2 + 1);
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  CHECK(graphs.counts().issued == 4);
  CHECK(graphs.counts().recorded == 1);
  CHECK(graphs.counts().replayed == 1);
}

TEST_CASE("fused convolutions are not offered by a GPU whose blocks have too little shared memory") {
  const auto taken = [](size_t kibibytes, int64_t size, int64_t channels) {
    const DifferentDevice different({.block_shared_bytes = kibibytes * 1024});
    Context context({Backend::cuda});
    return kernels::conv_block_takes(context.queue, {{4, size, size, channels, channels, 3, 3, 1, 1, 1, 1}, 2});
  };
  for (const size_t kibibytes : {99, 163, 227}) {  // compute capability 8.6, 8.0 and 9.0
    CHECK(taken(kibibytes, 32, 16));
    CHECK(taken(kibibytes, 16, 32) == (kibibytes > 99));
    CHECK(taken(kibibytes, 8, 64) == (kibibytes > 99));
  }
}

TEST_CASE("a GPU with less shared memory for a block uses the kernels that fit") {
  // The networks that the window kernel's tilings are made for: the ResNets and VGG16.
  const std::vector<kernels::ConvShape> shapes = {
      {1, 32, 32, 16, 16, 3, 3, 1, 1, 1, 1}, {1, 32, 32, 32, 32, 3, 3, 1, 1, 1, 1},
      {1, 16, 16, 32, 32, 3, 3, 1, 1, 1, 1}, {1, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1},
      {1, 4, 4, 32, 64, 3, 3, 1, 1, 1, 1},   {1, 2, 2, 32, 64, 3, 3, 1, 1, 1, 1},
      {1, 32, 32, 16, 32, 3, 3, 2, 2, 1, 1}, {1, 16, 16, 32, 64, 3, 3, 2, 2, 1, 1}};
  const auto sums_on = [](const EmulatedDevice& device, const kernels::ConvShape& s, kernels::Precision precision) {
    const DifferentDevice different(device);
    Context context({Backend::cuda});
    context.queue.set_precision(precision);
    const Shape x_shape{s.batch, s.height, s.width, s.in_channels}, y_shape{s.batch, s.positions(), s.out_channels};
    const Tensor x = from_host(context, x_shape, test::halves(test::random_tensor(x_shape.elements(), 1)));
    const Tensor grad_y = from_host(context, y_shape, test::halves(test::random_tensor(y_shape.elements(), 2)));
    const Tensor gradient = zeros(context, {s.weights()}), squares = zeros(context, {s.weights()});
    kernels::conv_second_moment_exact(context.queue, s, x.f32(), grad_y.f32(), gradient.f32(), squares.f32());
    kernels::conv_backward_weight(context.queue, s, x.f32(), grad_y.f32(), gradient.f32());
    return std::pair{to_host<float>(context, gradient), to_host<float>(context, squares)};
  };
  for (const size_t shared_kib : {163, 99})
    for (const kernels::ConvShape& s : shapes)
      for (const kernels::Precision precision : kernels::precisions) {
        CAPTURE(shared_kib, s.height, s.in_channels, s.out_channels, s.stride_height, precision);
        const EmulatedDevice less{.major = 8, .block_shared_bytes = shared_kib * 1024};
        CHECK((sums_on(less, s, precision) == sums_on({}, s, precision)));
      }
}
