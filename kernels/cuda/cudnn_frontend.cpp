// cuDNN by NVIDIA's cudnn-frontend, which calls the library that the run has loaded. The only file that includes it.
#include <dlfcn.h>
#include <fmt/format.h>

#include <mutex>
#include <optional>
#include <unordered_map>

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <noisysgd/kernels/cuda/cudnn_graph.h>

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the frontend looks up every function of cuDNN here
}

namespace noisysgd::kernels::cudnn {

namespace {

namespace frontend = cudnn_frontend;
using frontend::error_t;

constexpr int64_t x_id = 1, w_id = 2, y_id = 3;

// The frontend's errors hold cuDNN's status as a text alone.
bool lacks_memory(error_t& error) {
  return error.is_bad() &&
         error.get_message().find("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED") != std::string::npos;
}
void check(error_t error) {
  if (error.is_bad()) fail(lacks_memory(error), "cuDNN: " + error.get_message());
}
// Whether cuDNN supports what the call describes.
bool supported(error_t error) {
  if (lacks_memory(error)) check(error);
  return error.is_good();
}
void check(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS)
    fail(status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED,
         fmt::format("{}: {}; NSGD_CUDNN=off runs without cuDNN", version_text(),
                     frontend::detail::get_error_string(status)));
}

frontend::DataType_t data_type(DType type) {
  return type == DType::f16    ? frontend::DataType_t::HALF
         : type == DType::bf16 ? frontend::DataType_t::BFLOAT16
                               : frontend::DataType_t::FLOAT;
}

// cuDNN lists dimensions in the order N,C,H,W; the strides make C the innermost.
void describe(frontend::graph::Tensor_attributes& tensor, int64_t id, int64_t n, int64_t c, int64_t h, int64_t w) {
  tensor.set_uid(id).set_dim({n, c, h, w}).set_stride({h * w * c, 1, w * c, c});
}

}  // namespace

bool open_library(const std::string& wanted, std::string& why_not) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const std::string file = wanted.empty() || wanted == "on" ? "libcudnn.so.9" : wanted;
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    why_not = dlerror();  // begins with the file's name
    return false;
  }
  const auto version = reinterpret_cast<size_t (*)()>(dlsym(library, "cudnnGetVersion"));
  void*& used = frontend::cudnn_dlhandle;
  if (!version)
    why_not = file + ": has no cudnnGetVersion";
  else if (version() / 10000 != 9)
    why_not = fmt::format("{}: is version {}, expected 9.x", file, version());
  else if (used && used != library)
    why_not = file + ": the process has loaded another cuDNN";
  else
    used = library;
  if (used != library) dlclose(library);
  return used == library;
}

size_t version() { return frontend::detail::get_backend_version(); }

Handle make_handle(cudaStream_t stream) {
  cudnnHandle_t raw = nullptr;
  check(frontend::detail::create_handle(&raw));
  Handle handle(raw, [](cudnnHandle_t handle) { frontend::detail::destroy_handle(handle); });
  check(frontend::detail::set_stream(raw, stream));
  return handle;
}

struct Convolution::Graph {
  explicit Graph(const Problem& problem);
  std::vector<Plan> make_plans(const PlanLimits& limits);

  Handle handle;
  frontend::graph::Graph graph;
};

Convolution::Graph::Graph(const Problem& problem) {
  const ConvShape& s = problem.shape;
  graph.set_io_data_type(data_type(problem.type)).set_compute_data_type(frontend::DataType_t::FLOAT);
  const auto describe_x = [&](auto& t) { describe(t, x_id, s.batch, s.in_channels, s.height, s.width); };
  const auto describe_w = [&](auto& t) {
    describe(t, w_id, s.out_channels, s.in_channels, s.kernel_height, s.kernel_width);
  };
  const auto describe_y = [&](auto& t) { describe(t, y_id, s.batch, s.out_channels, s.out_height(), s.out_width()); };
  const auto operand = [&](const auto& describe) {
    frontend::graph::Tensor_attributes tensor;
    describe(tensor);
    return graph.tensor(tensor);
  };
  const auto geometry = [&](auto attributes) {
    attributes.set_padding({s.padding_height, s.padding_width}).set_stride({s.stride_height, s.stride_width});
    return attributes.set_dilation({1, 1});
  };
  if (problem.operation == Operation::forward) {
    const auto x = operand(describe_x), w = operand(describe_w);
    describe_y(graph.conv_fprop(x, w, geometry(frontend::graph::Conv_fprop_attributes()))->set_output(true));
  } else if (problem.operation == Operation::backward_data) {
    const auto y = operand(describe_y), w = operand(describe_w);
    describe_x(graph.conv_dgrad(y, w, geometry(frontend::graph::Conv_dgrad_attributes()))->set_output(true));
  } else {
    const auto y = operand(describe_y), x = operand(describe_x);
    describe_w(graph.conv_wgrad(y, x, geometry(frontend::graph::Conv_wgrad_attributes()))->set_output(true));
  }
  check(graph.validate());
}

std::vector<Plan> Convolution::Graph::make_plans(const PlanLimits& limits) {
  using enum frontend::NumericalNote_t;
  std::vector<Plan> plans;
  if (!supported(graph.build_operation_graph(handle.get())) ||
      !supported(graph.create_execution_plans({frontend::HeurMode_t::A, frontend::HeurMode_t::FALLBACK})))
    return plans;
  graph.deselect_numeric_notes({DOWN_CONVERT_INPUTS, REDUCED_PRECISION_REDUCTION, FFT, NONDETERMINISTIC, WINOGRAD,
                                WINOGRAD_TILE_4x4, WINOGRAD_TILE_6x6, WINOGRAD_TILE_13x13});
  if (limits.precision == Precision::fp32) graph.deselect_numeric_notes({TENSOR_CORE});
  graph.deselect_behavior_notes({frontend::BehaviorNote_t::RUNTIME_COMPILATION});
  graph.deselect_workspace_greater_than(static_cast<int64_t>(limits.workspace_bytes));
  const int64_t count = graph.get_execution_plan_count();
  for (int64_t i = 0; i < count && static_cast<int>(plans.size()) < limits.count; ++i) {
    if (!supported(graph.build_plan_at_index(i))) continue;
    Plan plan{.index = i, .name = {}, .workspace_bytes = 0};
    int64_t bytes = 0;
    check(graph.get_plan_name_at_index(i, plan.name));
    check(graph.get_workspace_size_plan_at_index(i, bytes));
    plan.workspace_bytes = static_cast<size_t>(bytes);
    plans.push_back(std::move(plan));
  }
  return plans;
}

Convolution::Convolution(const Handle& handle, const Problem& problem, const PlanLimits& limits)
    : graph_(std::make_unique<Graph>(problem)) {
  graph_->handle = handle;
  plans_ = graph_->make_plans(limits);
}

Convolution::Convolution(const std::string& device_properties, const Problem& problem, const PlanLimits& limits)
    : graph_(std::make_unique<Graph>(problem)) {
  const auto properties = std::make_shared<frontend::DeviceProperties>();
  check(properties->deserialize({device_properties.begin(), device_properties.end()}));
  graph_->graph.set_device_properties(properties);
  plans_ = graph_->make_plans(limits);
}

Convolution::~Convolution() = default;

void Convolution::execute(const Plan& plan, const void* x, const void* w, const void* y, void* workspace) const {
  std::unordered_map<int64_t, void*> addresses{
      {x_id, const_cast<void*>(x)}, {w_id, const_cast<void*>(w)}, {y_id, const_cast<void*>(y)}};
  check(graph_->graph.execute_plan_at_index(graph_->handle.get(), addresses, workspace, plan.index));
}

}  // namespace noisysgd::kernels::cudnn
