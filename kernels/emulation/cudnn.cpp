#include <noisysgd/kernels/emulation/cudnn.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include <noisysgd/kernels/cuda/cudnn_graph.h>
#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/emulation/launches.h>
#include <noisysgd/kernels/emulation/rounding.h>
#include <noisysgd/kernels/emulation/stream.h>
#include <noisysgd/kernels/half.h>

struct cudnnContext {
  cudaStream_t stream;
};

namespace noisysgd::emulation {

namespace {

using namespace kernels::cudnn;
using kernels::BFloat16, kernels::ConvShape, kernels::Half, kernels::rounded;

struct Engine {
  int64_t index;
  bool tensor_cores;
  int fraction;  // bits of the operands
  int64_t workspace_bytes;
};
constexpr Engine engines[] = {{67, true, tf32_fraction, 128},
                              {1, false, tf32_fraction, 0},
                              {28, false, fp32_fraction, 0},
                              {0, false, fp32_fraction, 0}};

struct Operand {
  DType type;
  int64_t elements;
  char* data;

  int64_t bytes() const { return elements * (type == DType::f32 ? 4 : 2); }
  float read(int64_t place) const {
    if (type == DType::f32) return reinterpret_cast<const float*>(data)[place];
    if (type == DType::f16) return widened(reinterpret_cast<const Half*>(data)[place]);
    return widened(reinterpret_cast<const BFloat16*>(data)[place]);
  }
  void write(int64_t place, float value) const {
    if (type == DType::f32)
      reinterpret_cast<float*>(data)[place] = value;
    else if (type == DType::f16)
      reinterpret_cast<Half*>(data)[place] = rounded<Half>(value);
    else
      reinterpret_cast<BFloat16*>(data)[place] = rounded<BFloat16>(value);
  }
};

struct Execution {
  Problem problem;
  Engine engine;
  Operand x, w, y;
  char* workspace;

  void run() const {
    for (const Operand* operand : {&x, &w, &y})
      check_range(operand->data, static_cast<size_t>(operand->bytes()), true, "cuDNN: a tensor");
    check_range(workspace, static_cast<size_t>(engine.workspace_bytes), true, "cuDNN: the workspace");
    std::memset(workspace, 0xff, static_cast<size_t>(engine.workspace_bytes));
    const ConvShape& s = problem.shape;
    const size_t result = result_of(problem.operation);
    const Operand& target = result == 0 ? x : result == 1 ? w : y;
    std::vector<float> sums(static_cast<size_t>(target.elements));
    const auto operand = [&](float value) { return round_to_fraction(value, engine.fraction); };
    for (int64_t n = 0; n < s.batch; ++n)
      for (int64_t k = 0; k < s.out_channels; ++k)
        for (int64_t i = 0; i < s.out_height(); ++i)
          for (int64_t j = 0; j < s.out_width(); ++j)
            for (int64_t r = 0; r < s.kernel_height; ++r)
              for (int64_t t = 0; t < s.kernel_width; ++t) {
                const int64_t h = i * s.stride_height - s.padding_height + r,
                              v = j * s.stride_width - s.padding_width + t;
                if (h < 0 || h >= s.height || v < 0 || v >= s.width) continue;
                for (int64_t c = 0; c < s.in_channels; ++c) {
                  const int64_t px = ((n * s.height + h) * s.width + v) * s.in_channels + c,
                                pw = ((k * s.kernel_height + r) * s.kernel_width + t) * s.in_channels + c,
                                py = ((n * s.out_height() + i) * s.out_width() + j) * s.out_channels + k;
                  if (result == 0) sums[px] += operand(w.read(pw)) * operand(y.read(py));
                  if (result == 1) sums[pw] += operand(x.read(px)) * operand(y.read(py));
                  if (result == 2) sums[py] += operand(x.read(px)) * operand(w.read(pw));
                }
              }
    for (int64_t i = 0; i < target.elements; ++i) target.write(i, sums[i]);
  }
};

void need_room() {
  if (no_room_to_launch()) kernels::fail(true, "cuDNN: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED");
}

CudnnUse use;

}  // namespace

const CudnnUse& cudnn_use() { return use; }

}  // namespace noisysgd::emulation

namespace noisysgd::kernels::cudnn {

bool open_library(const std::string& wanted, std::string& why_not) {
  if (wanted != "on")
    why_not = wanted.empty() ? "the emulated cuDNN is used only with NSGD_CUDNN=on"
                             : wanted + ": the emulated device uses no library";
  return wanted == "on";
}

size_t version() { return 91900; }

Handle make_handle(cudaStream_t stream) {
  emulation::need_room();
  return Handle(new cudnnContext{stream});
}

struct Convolution::Graph {
  Handle handle;
  Problem problem;
};

Convolution::Convolution(const Handle& handle, const Problem& problem, const PlanLimits& limits)
    : graph_(new Graph{handle, problem}) {
  for (const emulation::Engine& engine : emulation::engines) {
    const auto bytes = static_cast<size_t>(engine.workspace_bytes);
    if (engine.tensor_cores && limits.precision == Precision::fp32) continue;
    if (bytes > limits.workspace_bytes || static_cast<int>(plans_.size()) == limits.count) continue;
    emulation::need_room();
    plans_.push_back({&engine - emulation::engines, "eng" + std::to_string(engine.index), bytes});
  }
}

Convolution::~Convolution() = default;

void Convolution::execute(const Plan& plan, const void* x, const void* w, const void* y, void* workspace) const {
  for (const void* tensor : {x, w, y})
    NSGD_CHECK(std::bit_cast<uintptr_t>(tensor) % 16 == 0, "cuDNN: a tensor is not aligned");
  emulation::need_room();
  const auto sizes = tensor_sizes(graph_->problem.shape);
  const auto operand = [&](size_t i, const void* data) {
    return emulation::Operand{graph_->problem.type, sizes[i], static_cast<char*>(const_cast<void*>(data))};
  };
  const emulation::Engine& engine = emulation::engines[plan.index];
  const emulation::Execution execution{graph_->problem, engine,        operand(0, x),
                                       operand(1, w),   operand(2, y), static_cast<char*>(workspace)};
  ++emulation::use.executions;
  emulation::use.last_engine = engine.index;
  emulation::submit(graph_->handle->stream, [execution] {
    emulation::count_library_call("cuDNN");
    execution.run();
    emulation::device_seconds() += emulation::emulated_device().cudnn_seconds;
  });
}

}  // namespace noisysgd::kernels::cudnn
