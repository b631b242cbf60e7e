// Convolutions by cuDNN, emulated or real, against the CPU's, and how the choice of a plan is kept.
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

TEST_CASE("the cache of plans returns what was written, and nothing from a damaged file") {
  const TemporaryFolder folder;
  const Variable place("NSGD_CACHE", folder.path().string());
  const cuda::PlanCache cache("cuDNN 9.19.0", "a GPU / its name");
  CHECK(cache.read("forward") == std::nullopt);
  const std::string choice = "eng67_k2=3";
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
  CHECK_FALSE(cudnn::open_library("libnot-there.so.9", why));
  CHECK(why.find("libnot-there.so.9") == 0);
  {
    const Variable wrong("NSGD_CUDNN", "libnot-there.so.9");
    CHECK_THROWS_WITH(Queue({Backend::cuda}), Catch::Matchers::Contains("NSGD_CUDNN=libnot-there.so.9: " + why));
  }
  const Variable off("NSGD_CUDNN", "off");
  Queue queue({Backend::cuda});
  CHECK(queue.cuda().cudnn(queue) == nullptr);
  CHECK(queue.cuda().convolutions() == "own kernels (NSGD_CUDNN=off)");
  CHECK_FALSE(conv_backward_weight_cudnn(queue, shapes[0], nullptr, nullptr, nullptr));
}
