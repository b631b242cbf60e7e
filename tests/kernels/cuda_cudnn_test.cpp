// Convolutions by cuDNN, emulated or real, against the CPU's; which plans are allowed and how the choice is kept; and,
// where the library is installed, its plans for every convolution of the paper's models, which it lists without a GPU.
#include <filesystem>
#include <fstream>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/cuda/cudnn_conv.h>
#include <noisysgd/kernels/cuda/plan_cache.h>
#include <noisysgd/kernels/cuda/state.h>
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/mirrored.h"
#include "tests/temporary_folder.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

const ConvShape shapes[] = {
    {2, 12, 12, 1, 20, 5, 5, 1, 1, 0, 0}, {3, 6, 6, 4, 8, 5, 5, 1, 1, 2, 2},  {5, 9, 8, 7, 12, 3, 3, 2, 2, 1, 1},
    {4, 8, 8, 12, 8, 1, 1, 2, 2, 0, 0},   {2, 5, 9, 4, 12, 2, 3, 2, 1, 0, 2}, {2, 16, 16, 16, 16, 3, 3, 1, 1, 1, 1},
};

}  // namespace

TEST_CASE("convolutions by cuDNN agree with the CPU's to the precision") {
  const TemporaryFolder cache;
  const Variable on("NSGD_CUDNN", "on"), folder("NSGD_CACHE", cache.path().string());
  BothQueues both;
  REQUIRE(both.cuda.cuda().cudnn(both.cuda) != nullptr);
  for (const Precision precision : precisions) {
    both.cuda.set_precision(precision);
    const double bar = precision == Precision::fp32 ? 1e-5 : precision == Precision::tf32 ? 1e-3 : 1e-2;
    for (const ConvShape& s : shapes) {
      CAPTURE(name_of(precision), s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.stride_height);
      const int64_t in = input_size(s), out = output_size(s);
      Floats x(random_tensor(in, 1)), weight(random_tensor(s.weights(), 2)), bias(random_tensor(s.out_channels, 3)),
          grad_y(random_tensor(out, 4)), y(nan_tensor(out)), grad_x(nan_tensor(in)),
          grad_weight(random_tensor(s.weights(), 5));
      for (int repeat = 0; repeat < 2; ++repeat)  // the first chooses, the second has chosen
        both.run([&](Queue& q) {
          conv_forward(q, s, x.on(q), weight.on(q), bias.on(q), y.on(q));
          conv_backward_data(q, s, weight.on(q), grad_y.on(q), grad_x.on(q));
          conv_backward_weight(q, s, x.on(q), grad_y.on(q), grad_weight.on(q));
        });
      CHECK(relative_error(y.on_cuda(), to_double(y.on_cpu())) < bar);
      CHECK(relative_error(grad_x.on_cuda(), to_double(grad_x.on_cpu())) < bar);
      CHECK(relative_error(grad_weight.on_cuda(), to_double(grad_weight.on_cpu())) < bar);
    }
  }
}

TEST_CASE("a plan is allowed or excluded by its numerical notes") {
  using enum cudnn::NumericalNote;
  const auto allowed = [](std::vector<cudnn::NumericalNote> notes, Precision precision) {
    return cudnn::is_allowed(notes, {}, precision);
  };
  CHECK(allowed({}, Precision::fp32));
  CHECK(allowed({strict_nan}, Precision::fp32));
  CHECK_FALSE(allowed({tensor_core}, Precision::fp32));
  CHECK(allowed({tensor_core}, Precision::tf32));
  CHECK(allowed({tensor_core}, Precision::half));
  for (const auto note : {down_converts_inputs, reduced_precision_reduction, fft, nondeterministic, winograd,
                          winograd_4x4, winograd_6x6, winograd_13x13})
    CHECK_FALSE(allowed({tensor_core, note}, Precision::half));
  const std::vector compiled{cudnn::BehaviourNote::compiled_at_run_time};
  CHECK_FALSE(cudnn::is_allowed({}, compiled, Precision::tf32));
}

TEST_CASE("the cache of plans returns what was written, and nothing from a damaged file") {
  const TemporaryFolder folder;
  const Variable place("NSGD_CACHE", folder.path().string());
  const cuda::PlanCache cache("cuDNN 9.19.0", "a GPU / its name");
  CHECK(cache.read("forward") == std::nullopt);
  const cuda::PlanChoice choice{3, 67};
  cache.write("forward", choice);
  CHECK(cache.read("forward") == choice);
  CHECK(cache.read("backward-data") == std::nullopt);
  cache.write("backward-weight", cuda::own_kernel);
  CHECK(cache.read("backward-weight") == cuda::own_kernel);
  CHECK(cuda::PlanCache("cuDNN 9.20.0", "a GPU / its name").read("forward") == std::nullopt);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
    if (entry.is_regular_file()) std::ofstream(entry.path()) << "plan x";
  CHECK(cache.read("forward") == std::nullopt);
  const Variable nowhere("NSGD_CACHE", "/dev/null/nowhere");
  const cuda::PlanCache lost("cuDNN 9.19.0", "GPU");
  lost.write("forward", choice);
  CHECK(lost.read("forward") == std::nullopt);
}

TEST_CASE("a missing library is reported, as an error if it was requested") {
  std::string why;
  CHECK(cudnn::open_library("libnot-there.so.9", why) == nullptr);
  CHECK(why.find("libnot-there.so.9") != std::string::npos);
  CHECK(cudnn::open_library("libm.so.6", why) == nullptr);
  CHECK(why == "libm.so.6: has no cudnnGetVersion");
  {
    const Variable wrong("NSGD_CUDNN", "libnot-there.so.9");
    CHECK_THROWS_WITH(Queue({Backend::cuda}), Catch::Matchers::Contains("NSGD_CUDNN=libnot-there.so.9"));
  }
  const Variable off("NSGD_CUDNN", "off");
  Queue queue({Backend::cuda});
  CHECK(queue.cuda().cudnn(queue) == nullptr);
  CHECK(queue.cuda().convolutions() == "own kernels (NSGD_CUDNN=off)");
  CHECK_FALSE(conv_backward_weight_cudnn(queue, shapes[0], nullptr, nullptr, nullptr));
}

namespace {

// An H100 as cuDNN describes it.
constexpr const char* h100 = R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "regsPerBlock": 65536, "multiProcessorCount": 132, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
  "l2CacheSize": 52428800, "warpSize": 32, "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
  "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "pciDeviceId": 0, "maxCtasPerSM": 32,
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "isTccDriver": 0, "supportCoopLaunch": 1, "deviceVer": 900,
  "driverVer": 13000, "cudaDeviceId": 0, "totalGlobalMem": 85017493504, "deviceName": "H100"})";

constexpr ConvShape square(int64_t size, int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding) {
  return {4096, size, size, in, out, kernel, kernel, stride, stride, padding, padding};
}
// LeNet, AlexNet, VGG16, ResNet44 and its double width; shortcuts are projections or without parameters.
constexpr ConvShape models[] = {
    square(28, 1, 20, 5, 1, 0),   square(12, 20, 50, 5, 1, 0),  square(32, 3, 64, 5, 1, 2),
    square(16, 64, 64, 5, 1, 2),  square(8, 256, 256, 3, 1, 1), square(32, 3, 64, 3, 1, 1),
    square(32, 64, 64, 3, 1, 1),  square(16, 64, 128, 3, 1, 1), square(16, 128, 128, 3, 1, 1),
    square(8, 128, 256, 3, 1, 1), square(4, 256, 512, 3, 1, 1), square(4, 512, 512, 3, 1, 1),
    square(2, 512, 512, 3, 1, 1), square(32, 3, 16, 3, 1, 1),   square(32, 16, 16, 3, 1, 1),
    square(32, 16, 32, 3, 2, 1),  square(16, 32, 32, 3, 1, 1),  square(16, 32, 64, 3, 2, 1),
    square(8, 64, 64, 3, 1, 1),   square(32, 16, 32, 1, 2, 0),  square(16, 32, 64, 1, 2, 0),
    square(32, 3, 32, 3, 1, 1),   square(32, 32, 32, 3, 1, 1),  square(32, 32, 64, 3, 2, 1),
    square(16, 64, 64, 3, 1, 1),  square(16, 64, 128, 3, 2, 1), square(8, 128, 128, 3, 1, 1),
    square(32, 32, 64, 1, 2, 0),  square(16, 64, 128, 1, 2, 0),
};

}  // namespace

TEST_CASE("the installed cuDNN has a plan for every convolution of the paper's models") {
#ifdef __SANITIZE_ADDRESS__
  const __lsan::ScopedDisabler closed_library_keeps_its_memory;
#endif
  std::string why;
  const cudnn::Api* api = cudnn::open_library("libcudnn.so.9", why);
  if (!api) api = cudnn::open_library("/usr/local/cuda/lib64/libcudnn.so.9", why);
  if (!api || api->version() < 90800) {
    WARN("cuDNN's plans are not checked: " << (api ? "this version makes none without a GPU" : why));
    return;
  }
  const cudnn::Descriptor properties = cudnn::device_properties(*api, h100);
  const cudnn::Target target{.device_properties = &properties};
  using enum cudnn::Operation;
  for (const ConvShape& s : models)
    for (const auto operation : {forward, backward_data, backward_filter})
      for (const Precision precision : precisions) {
        if (precision == Precision::half && operation == backward_filter) continue;  // computed on fp32 tensors
        CAPTURE(name_of(operation), name_of(precision), s.height, s.in_channels, s.out_channels, s.kernel_height);
        const cudnn::DataType type = precision != Precision::half ? cudnn::DataType::fp32
                                     : operation == forward       ? cudnn::DataType::fp16
                                                                  : cudnn::DataType::bf16;
        const cudnn::Convolution convolution(*api, {operation, s, type});
        CHECK(convolution.plans(target, precision, size_t{1} << 30, 1).size() == 1);
      }
}
