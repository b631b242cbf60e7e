// The plans of the installed cuDNN, which it lists without a GPU, for every convolution of the paper's models; and what
// cuDNN is told of a convolution.
#include <cudnn.h>

#include <algorithm>
#include <set>

#include <noisysgd/kernels/cuda/cudnn_graph.h>
#include "tests/catch.h"
#include "tests/kernels/cudnn_shim.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using noisysgd::test::cudnn_calls;

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

// Opens cuDNN; false if this version makes no plans without a GPU.
bool has_plans() {
  std::string why;
  REQUIRE(cudnn::open_library(NSGD_CUDNN_SHIM, why));
  if (cudnn::version() < 90800) WARN("this version of cuDNN makes no plans without a GPU");
  return cudnn::version() >= 90800;
}

std::vector<cudnn::Plan> plans(cudnn::Operation operation, const ConvShape& shape, DType type,
                               const cudnn::PlanLimits& limits) {
  return cudnn::Convolution(h100, {operation, shape, type}, limits).plans();
}

std::set<std::string> names(const std::vector<cudnn::Plan>& plans) {
  std::set<std::string> names;
  for (const cudnn::Plan& plan : plans) names.insert(plan.name);
  return names;
}

}  // namespace

using enum cudnn::Operation;

TEST_CASE("the installed cuDNN has a plan for every convolution of the paper's models") {
  if (!has_plans()) return;
  for (const ConvShape& s : models)
    for (const auto operation : {forward, backward_data, backward_filter})
      for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::half}) {
        if (precision == Precision::half && operation == backward_filter) continue;  // computed on fp32 tensors
        CAPTURE(name_of(operation), name_of(precision), s.height, s.in_channels, s.out_channels, s.kernel_height);
        const DType type = precision != Precision::half ? DType::f32 : operation == forward ? DType::f16 : DType::bf16;
        CHECK(plans(operation, s, type, {precision, size_t{1} << 30, 1}).size() == 1);
      }
}

TEST_CASE("plans keep the limits, and have the same names each time") {
  if (!has_plans()) return;
  constexpr size_t most = size_t{1} << 30;
  const ConvShape shape = square(16, 64, 64, 3, 1, 1);
  for (const auto operation : {forward, backward_data, backward_filter}) {
    CAPTURE(name_of(operation));
    const auto all = plans(operation, shape, DType::f32, {Precision::tf32, most, 1000});
    const auto again = plans(operation, shape, DType::f32, {Precision::tf32, most, 1000});
    CHECK(names(all) == names(again));
    CHECK(std::ranges::is_sorted(all, {}, &cudnn::Plan::index));
    // Without tensor cores fewer remain, and no others.
    const auto fp32 = plans(operation, shape, DType::f32, {Precision::fp32, most, 1000});
    CHECK(fp32.size() > 0);
    CHECK(names(fp32).size() < names(all).size());
    CHECK(std::ranges::includes(names(all), names(fp32)));
    const auto few = plans(operation, shape, DType::f32, {Precision::tf32, most, 2});
    REQUIRE(few.size() == 2);
    for (size_t i = 0; i < 2; ++i) CHECK(few[i].name == all[i].name);
    // A limit of the workspace leaves out the plans above it alone.
    size_t smallest = most, largest = 0;
    for (const cudnn::Plan& plan : all) {
      smallest = std::min(smallest, plan.workspace_bytes);
      largest = std::max(largest, plan.workspace_bytes);
    }
    REQUIRE(smallest < largest);
    const auto small = plans(operation, shape, DType::f32, {Precision::tf32, largest - 1, 1000});
    CHECK(small.size() == static_cast<size_t>(std::ranges::count_if(
                              all, [&](const cudnn::Plan& plan) { return plan.workspace_bytes < largest; })));
  }
}

TEST_CASE("plans whose sums have no fixed order are left out") {
  if (!has_plans() || cudnn::version() / 100 != 919) return;
  const auto has = [](cudnn::Operation operation, const std::string& engine) {
    const auto all =
        plans(operation, square(16, 64, 64, 3, 1, 1), DType::f32, {Precision::tf32, size_t{1} << 30, 1000});
    return std::ranges::any_of(all,
                               [&](const cudnn::Plan& plan) { return (plan.name + "_").starts_with(engine + "_"); });
  };
  CHECK_FALSE(has(backward_data, "eng25"));  // in cuDNN 9.19 these two have the note
  CHECK_FALSE(has(backward_filter, "eng20"));
  CHECK(has(backward_data, "eng28"));
  CHECK(has(backward_filter, "eng68"));
}

TEST_CASE("cuDNN gets the tensors of a convolution and their addresses") {
  if (!has_plans()) return;
  const ConvShape s{2, 9, 7, 16, 24, 3, 5, 2, 1, 1, 2};
  char tensors[3 * 16], workspace;
  for (const auto operation : {forward, backward_data, backward_filter})
    for (const auto& [type, expected] :
         {std::pair{DType::f32, CUDNN_DATA_FLOAT}, std::pair{DType::f16, CUDNN_DATA_HALF},
          std::pair{DType::bf16, CUDNN_DATA_BFLOAT16}}) {
      cudnn_calls() = {};
      const cudnn::Convolution convolution(h100, {operation, s, type}, {Precision::tf32, size_t{1} << 30, 1});
      REQUIRE(convolution.plans().size() == 1);
      convolution.execute(convolution.plans()[0], tensors, tensors + 16, tensors + 32, &workspace);
      CHECK(cudnn_calls().workspace == &workspace);
      REQUIRE(cudnn_calls().tensors.size() == 3);
      for (const auto& [id, tensor] : cudnn_calls().tensors) {
        CAPTURE(name_of(operation), id);
        const auto place = static_cast<const char*>(tensor.address) - tensors;
        using Sizes = std::vector<int64_t>;  // N,C,H,W; or of the weight K,C,R,S
        const Sizes n = place == 0    ? Sizes{2, 16, 9, 7}
                        : place == 16 ? Sizes{24, 16, 3, 5}
                                      : Sizes{2, 24, s.out_height(), s.out_width()};
        CHECK(tensor.dimensions == n);
        CHECK(tensor.strides == Sizes{n[1] * n[2] * n[3], 1, n[1] * n[3], n[1]});
        CHECK(tensor.type == expected);
        CHECK(tensor.alignment == 16);
      }
    }
}

TEST_CASE("too little memory for cuDNN is an out-of-memory error") {
  if (!has_plans()) return;
  const auto make = [] {
    return cudnn::Convolution(h100, {forward, square(16, 64, 64, 3, 1, 1), DType::f32},
                              {Precision::tf32, size_t{1} << 30, 1});
  };
  const auto without = [](test::CudnnCalls calls) { cudnn_calls() = calls; };
  without({.no_handle = true});
  CHECK_THROWS_AS(cudnn::make_handle(nullptr), OutOfMemory);
  without({.none_of_kind = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR});
  CHECK_THROWS_AS(make(), OutOfMemory);
  without({.none_of_kind = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR});
  CHECK_THROWS_AS(make(), OutOfMemory);
  without({});
  CHECK_THROWS_AS(cudnn::make_handle(nullptr), Error);
  const cudnn::Convolution convolution = make();
  char place;
  CHECK_NOTHROW(convolution.execute(convolution.plans().at(0), &place, &place, &place, &place));
  without({.no_execution = true});
  CHECK_THROWS_AS(convolution.execute(convolution.plans().at(0), &place, &place, &place, &place), OutOfMemory);
  without({});
}

TEST_CASE("a library that is not cuDNN is not used") {
  std::string why;
  CHECK_FALSE(cudnn::open_library("libm.so.6", why));
  CHECK(why == "libm.so.6: has no cudnnGetVersion");
}
