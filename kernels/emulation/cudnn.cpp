#include <noisysgd/kernels/emulation/cudnn.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <noisysgd/kernels/cuda/cudnn_api.h>
#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/emulation/launches.h>
#include <noisysgd/kernels/emulation/rounding.h>
#include <noisysgd/kernels/emulation/stream.h>
#include <noisysgd/kernels/half.h>

struct noisysgd::kernels::cudnn::Context {
  cudaStream_t stream = nullptr;
};

namespace noisysgd::emulation {

namespace {

using namespace kernels::cudnn;
using kernels::BFloat16, kernels::Half, kernels::rounded;

struct Engine {
  int64_t index;
  std::vector<NumericalNote> notes;
  int64_t workspace_bytes;
  bool supported = true;
  int fraction = notes.empty() ? fp32_fraction : tf32_fraction;  // bits of the operands
};

std::vector<Engine> engines_of(HeuristicsMode mode) {
  if (mode == HeuristicsMode::fallback) return {{70, {NumericalNote::winograd}, 0}, {0, {}, 0}};
  return {{11, {NumericalNote::nondeterministic}, 0},
          {5, {NumericalNote::tensor_core}, 0, false},
          {67, {NumericalNote::tensor_core}, 128},
          {1, {}, 0, true, tf32_fraction},
          {28, {}, 0}};
}

struct Content {
  Kind kind;
  bool finalized = false;
  std::map<Attribute, std::vector<std::byte>> values;
  std::map<Attribute, std::shared_ptr<const Content>> descriptors;  // finalised ones; the caller may destroy them
  Engine engine{};

  bool has(Attribute attribute) const { return values.contains(attribute) || descriptors.contains(attribute); }
  template <class T>
  std::vector<T> all(Attribute attribute) const {
    const auto& bytes = values.at(attribute);
    std::vector<T> result(bytes.size() / sizeof(T));
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }
  template <class T>
  T one(Attribute attribute) const {
    return all<T>(attribute).at(0);
  }
  const Content& part(Attribute attribute) const { return *descriptors.at(attribute); }
};

using Opaque = std::shared_ptr<Content>;  // what a RawDescriptor points to
Opaque& content_of(RawDescriptor raw) { return *static_cast<Opaque*>(raw); }

size_t size_of(Type type) {
  switch (type) {
    case Type::int64:
      return sizeof(int64_t);
    case Type::handle:
    case Type::pointer:
    case Type::descriptor:
      return sizeof(void*);
    case Type::text:
      return 1;
    default:
      return sizeof(int);
  }
}

struct Names {
  Attribute convolution, x, w, y, alpha, beta, result;
};
Names names_of(Kind operation) {
  using enum Attribute;
  if (operation == Kind::convolution_forward)
    return {forward_convolution, forward_x, forward_w, forward_y, forward_alpha, forward_beta, forward_y};
  if (operation == Kind::convolution_backward_data)
    return {data_convolution, data_x, data_w, data_y, data_alpha, data_beta, data_x};
  return {filter_convolution, filter_x, filter_w, filter_y, filter_alpha, filter_beta, filter_w};
}

bool has_all(const Content& c, std::initializer_list<Attribute> attributes) {
  return std::ranges::all_of(attributes, [&](Attribute attribute) { return c.has(attribute); });
}

Status check_operation(const Content& c) {
  const Names names = names_of(c.kind);
  if (!has_all(c, {names.convolution, names.x, names.w, names.y, names.alpha, names.beta}))
    return Status::bad_parameter;
  const auto dims = [&](Attribute tensor) { return c.part(tensor).all<int64_t>(Attribute::tensor_dimensions); };
  const auto x = dims(names.x), w = dims(names.w), y = dims(names.y);
  const Content& convolution = c.part(names.convolution);
  const auto stride = convolution.all<int64_t>(Attribute::convolution_strides),
             before = convolution.all<int64_t>(Attribute::convolution_pre_paddings),
             after = convolution.all<int64_t>(Attribute::convolution_post_paddings);
  if (y[0] != x[0] || y[1] != w[0] || w[1] != x[1]) return Status::bad_parameter;
  for (size_t d = 0; d < 2; ++d)
    if (y[2 + d] != (x[2 + d] + before[d] + after[d] - w[2 + d]) / stride[d] + 1) return Status::bad_parameter;
  const auto type = [&](Attribute tensor) { return c.part(tensor).one<DataType>(Attribute::tensor_data_type); };
  return type(names.x) == type(names.w) && type(names.x) == type(names.y) ? Status::success : Status::not_supported;
}

Status check_complete(const Content& c) {
  using enum Attribute;
  const auto given = [&](std::initializer_list<Attribute> attributes) {
    return has_all(c, attributes) ? Status::success : Status::bad_parameter;
  };
  switch (c.kind) {
    case Kind::tensor:
      return given({tensor_id, tensor_data_type, tensor_dimensions, tensor_strides, tensor_alignment});
    case Kind::convolution:
      return given({convolution_compute_type, convolution_mode, convolution_spatial_dimensions, convolution_dilations,
                    convolution_strides, convolution_pre_paddings, convolution_post_paddings});
    case Kind::convolution_forward:
    case Kind::convolution_backward_data:
    case Kind::convolution_backward_filter:
      return check_operation(c);
    case Kind::graph:
      return given({graph_operations, graph_handle});
    case Kind::heuristics:
      return given({heuristics_graph, heuristics_mode});
    case Kind::plan:
      if (!has_all(c, {plan_config, plan_handle})) return Status::bad_parameter;
      return c.part(plan_config).engine.supported ? Status::success : Status::not_supported;
    case Kind::variant_pack:
      return given({pack_ids, pack_pointers, pack_workspace});
    default:
      return Status::bad_parameter;
  }
}

// A tensor of the graph at an address.
struct Operand {
  std::vector<int64_t> dims, strides;
  DataType type;
  char* data;

  int64_t elements_spanned() const {
    int64_t last = 0;
    for (size_t d = 0; d < 4; ++d) last += (dims[d] - 1) * strides[d];
    return last + 1;
  }
  int64_t bytes() const { return elements_spanned() * (type == DataType::fp32 ? 4 : 2); }
  int64_t at(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return a * strides[0] + b * strides[1] + c * strides[2] + d * strides[3];
  }
  float read(int64_t place) const {
    if (type == DataType::fp32) return reinterpret_cast<const float*>(data)[place];
    if (type == DataType::fp16) return widened(reinterpret_cast<const Half*>(data)[place]);
    return widened(reinterpret_cast<const BFloat16*>(data)[place]);
  }
  void write(int64_t place, float value) const {
    if (type == DataType::fp32)
      reinterpret_cast<float*>(data)[place] = value;
    else if (type == DataType::fp16)
      reinterpret_cast<Half*>(data)[place] = rounded<Half>(value);
    else
      reinterpret_cast<BFloat16*>(data)[place] = rounded<BFloat16>(value);
  }
};

struct Execution {
  Operand x, w, y;
  size_t result;  // among x, w, y
  std::vector<int64_t> stride, padding;
  float alpha, beta;
  int fraction;  // bits of the operands
  char* workspace;
  int64_t workspace_bytes;

  void run() const {
    for (const Operand* operand : {&x, &w, &y})
      check_range(operand->data, static_cast<size_t>(operand->bytes()), true, "cuDNN: a tensor");
    check_range(workspace, static_cast<size_t>(workspace_bytes), true, "cuDNN: the workspace");
    std::memset(workspace, 0xff, static_cast<size_t>(workspace_bytes));
    const Operand& target = result == 0 ? x : result == 1 ? w : y;
    std::vector<float> sums(static_cast<size_t>(target.elements_spanned()));
    const auto operand = [&](float value) { return round_to_fraction(value, fraction); };
    for (int64_t n = 0; n < y.dims[0]; ++n)
      for (int64_t k = 0; k < y.dims[1]; ++k)
        for (int64_t i = 0; i < y.dims[2]; ++i)
          for (int64_t j = 0; j < y.dims[3]; ++j)
            for (int64_t r = 0; r < w.dims[2]; ++r)
              for (int64_t s = 0; s < w.dims[3]; ++s) {
                const int64_t h = i * stride[0] - padding[0] + r, v = j * stride[1] - padding[1] + s;
                if (h < 0 || h >= x.dims[2] || v < 0 || v >= x.dims[3]) continue;
                for (int64_t c = 0; c < x.dims[1]; ++c) {
                  const int64_t px = x.at(n, c, h, v), pw = w.at(k, c, r, s), py = y.at(n, k, i, j);
                  if (result == 0) sums[px] += operand(w.read(pw)) * operand(y.read(py));
                  if (result == 1) sums[pw] += operand(x.read(px)) * operand(y.read(py));
                  if (result == 2) sums[py] += operand(x.read(px)) * operand(w.read(pw));
                }
              }
    for (int64_t a = 0; a < target.dims[0]; ++a)
      for (int64_t b = 0; b < target.dims[1]; ++b)
        for (int64_t c = 0; c < target.dims[2]; ++c)
          for (int64_t d = 0; d < target.dims[3]; ++d) {
            const int64_t place = target.at(a, b, c, d);
            target.write(place, alpha * sums[place] + (beta == 0 ? 0 : beta * target.read(place)));
          }
  }
};

CudnnUse use;

Status create(Handle* handle) {
  if (no_room_to_launch()) return Status::no_device_memory;
  *handle = new Context;
  return Status::success;
}
Status destroy(Handle handle) {
  delete handle;
  return Status::success;
}
Status set_stream(Handle handle, cudaStream_t stream) {
  handle->stream = stream;
  return Status::success;
}

Status create_descriptor(Kind kind, RawDescriptor* descriptor) {
  auto content = std::make_shared<Content>();
  content->kind = kind;
  *descriptor = new Opaque(std::move(content));
  return Status::success;
}
Status destroy_descriptor(RawDescriptor descriptor) {
  delete static_cast<Opaque*>(descriptor);
  return Status::success;
}

Status finalize(RawDescriptor descriptor) {
  Content& content = *content_of(descriptor);
  Status status = check_complete(content);
  if (content.kind == Kind::plan && no_room_to_launch()) status = Status::no_device_memory;
  content.finalized = status == Status::success;
  return status;
}

Status set_attribute(RawDescriptor descriptor, Attribute attribute, Type type, int64_t count, const void* values) {
  Content& content = *content_of(descriptor);
  if (content.finalized || count < 1 || !values) return Status::bad_parameter;
  if (type == Type::descriptor) {
    const Opaque& other = content_of(*static_cast<const RawDescriptor*>(values));
    if (count != 1) return Status::bad_parameter;
    if (!other->finalized) return Status::not_finalized;
    content.descriptors[attribute] = other;
    return Status::success;
  }
  const auto* bytes = static_cast<const std::byte*>(values);
  content.values[attribute].assign(bytes, bytes + static_cast<size_t>(count) * size_of(type));
  return Status::success;
}

// Turns the caller's descriptor into one that cuDNN has filled in: an engine for an operation.
void fill(RawDescriptor descriptor, Kind kind, const Engine& engine, const Content& graph) {
  Content& content = *content_of(descriptor);
  content.kind = kind;
  content.engine = engine;
  content.descriptors[Attribute::graph_operations] = graph.descriptors.at(Attribute::graph_operations);
  content.finalized = true;
}

template <class T>
Status give(const std::vector<T>& values, int64_t capacity, int64_t* count, void* to) {
  *count = static_cast<int64_t>(values.size());
  if (to) std::copy_n(values.begin(), std::min(capacity, *count), static_cast<T*>(to));
  return Status::success;
}

Status get_attribute(RawDescriptor descriptor, Attribute attribute, Type, int64_t capacity, int64_t* count,
                     void* values) {
  const Content& content = *content_of(descriptor);
  if (!content.finalized) return Status::not_finalized;
  switch (attribute) {
    case Attribute::heuristics_results: {
      const std::vector<Engine> engines = engines_of(content.one<HeuristicsMode>(Attribute::heuristics_mode));
      *count = static_cast<int64_t>(engines.size());
      for (int64_t i = 0; i < std::min(capacity, *count); ++i)
        fill(static_cast<RawDescriptor*>(values)[i], Kind::engine_config, engines[static_cast<size_t>(i)],
             content.part(Attribute::heuristics_graph));
      return Status::success;
    }
    case Attribute::config_engine:
      *count = 1;
      fill(*static_cast<RawDescriptor*>(values), Kind::engine, content.engine, content);
      return Status::success;
    case Attribute::engine_index:
      return give(std::vector{content.engine.index}, capacity, count, values);
    case Attribute::engine_numerical_notes:
      return give(content.engine.notes, capacity, count, values);
    case Attribute::engine_behaviour_notes:
      return give(std::vector<BehaviourNote>{}, capacity, count, values);
    case Attribute::plan_workspace_bytes:
      return give(std::vector{content.part(Attribute::plan_config).engine.workspace_bytes}, capacity, count, values);
    default:
      return Status::bad_parameter;
  }
}

Status execute(Handle handle, RawDescriptor plan_descriptor, RawDescriptor pack_descriptor) {
  const Content &plan = *content_of(plan_descriptor), &pack = *content_of(pack_descriptor);
  if (!plan.finalized || !pack.finalized) return Status::not_finalized;
  const Content& configuration = plan.part(Attribute::plan_config);
  const Engine& engine = configuration.engine;
  const Content& operation = configuration.part(Attribute::graph_operations);
  const Names names = names_of(operation.kind);
  const auto ids = pack.all<int64_t>(Attribute::pack_ids);
  const auto pointers = pack.all<char*>(Attribute::pack_pointers);
  if (ids.size() != pointers.size()) return Status::bad_parameter;
  const auto operand = [&](Attribute name) {
    const Content& tensor = operation.part(name);
    const auto place = std::ranges::find(ids, tensor.one<int64_t>(Attribute::tensor_id)) - ids.begin();
    return Operand{tensor.all<int64_t>(Attribute::tensor_dimensions), tensor.all<int64_t>(Attribute::tensor_strides),
                   tensor.one<DataType>(Attribute::tensor_data_type), pointers.at(static_cast<size_t>(place))};
  };
  const Content& convolution = operation.part(names.convolution);
  Execution execution{operand(names.x),
                      operand(names.w),
                      operand(names.y),
                      names.result == names.x   ? size_t{0}
                      : names.result == names.w ? size_t{1}
                                                : size_t{2},
                      convolution.all<int64_t>(Attribute::convolution_strides),
                      convolution.all<int64_t>(Attribute::convolution_pre_paddings),
                      operation.one<float>(names.alpha),
                      operation.one<float>(names.beta),
                      engine.fraction,
                      pack.one<char*>(Attribute::pack_workspace),
                      engine.workspace_bytes};
  for (const Operand* tensor : {&execution.x, &execution.w, &execution.y})
    if (std::bit_cast<uintptr_t>(tensor->data) % 16 != 0) return Status::bad_parameter;
  if (no_room_to_launch()) return Status::no_device_memory;
  ++use.executions;
  use.last_engine = engine.index;
  submit(handle->stream, [execution] {
    count_library_call("cuDNN");
    execution.run();
    device_seconds() += emulated_device().cudnn_seconds;
  });
  return Status::success;
}

const Api emulated{[] { return size_t{91900}; },
                   [](Status status) {
                     return status == Status::success         ? "CUDNN_STATUS_SUCCESS"
                            : status == Status::not_supported ? "CUDNN_STATUS_NOT_SUPPORTED"
                            : status == Status::not_finalized ? "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED"
                            : status == Status::no_device_memory
                                ? "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
                                : "CUDNN_STATUS_BAD_PARAM";
                   },
                   [](char* message, size_t) { *message = '\0'; },
                   create,
                   destroy,
                   set_stream,
                   create_descriptor,
                   destroy_descriptor,
                   finalize,
                   set_attribute,
                   get_attribute,
                   execute};

}  // namespace

const CudnnUse& cudnn_use() { return use; }

}  // namespace noisysgd::emulation

namespace noisysgd::kernels::cudnn {

const Api* wanted_library(std::string&) { return &emulation::emulated; }
const Api* default_library(std::string& why_not) {
  why_not = "the emulated cuDNN is used only with NSGD_CUDNN=on";
  return nullptr;
}

}  // namespace noisysgd::kernels::cudnn
