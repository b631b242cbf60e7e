#include <noisysgd/kernels/cuda/cudnn_graph.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace noisysgd::kernels::cudnn {

namespace {

constexpr int64_t x_id = 1, w_id = 2, y_id = 3;
constexpr int64_t alignment = 16;  // of every tensor, in bytes

Descriptor tensor(const Api& api, int64_t id, DataType type, int64_t n, int64_t c, int64_t h, int64_t w) {
  Descriptor descriptor(api, Kind::tensor);
  descriptor.set(Attribute::tensor_id, Type::int64, id);
  descriptor.set(Attribute::tensor_data_type, Type::data_type, type);
  // cuDNN lists dimensions in the order N,C,H,W; the strides make C the innermost.
  descriptor.set(Attribute::tensor_dimensions, std::array{n, c, h, w});
  descriptor.set(Attribute::tensor_strides, std::array{h * w * c, int64_t{1}, w * c, c});
  descriptor.set(Attribute::tensor_alignment, Type::int64, alignment);
  descriptor.finalize();
  return descriptor;
}

Descriptor geometry(const Api& api, const ConvShape& s) {
  Descriptor descriptor(api, Kind::convolution);
  const std::array stride{s.stride_height, s.stride_width}, padding{s.padding_height, s.padding_width};
  descriptor.set(Attribute::convolution_compute_type, Type::data_type, DataType::fp32);
  descriptor.set(Attribute::convolution_mode, Type::convolution_mode, ConvolutionMode::cross_correlation);
  descriptor.set(Attribute::convolution_spatial_dimensions, Type::int64, int64_t{2});
  descriptor.set(Attribute::convolution_dilations, std::array{int64_t{1}, int64_t{1}});
  descriptor.set(Attribute::convolution_strides, stride);
  descriptor.set(Attribute::convolution_pre_paddings, padding);
  descriptor.set(Attribute::convolution_post_paddings, padding);
  descriptor.finalize();
  return descriptor;
}

struct OperationNames {
  Kind kind;
  Attribute alpha, beta, convolution, x, w, y;
};

constexpr OperationNames names_of(Operation operation) {
  using enum Attribute;
  switch (operation) {
    case Operation::forward:
      return {
          Kind::convolution_forward, forward_alpha, forward_beta, forward_convolution, forward_x, forward_w, forward_y};
    case Operation::backward_data:
      return {Kind::convolution_backward_data, data_alpha, data_beta, data_convolution, data_x, data_w, data_y};
    default:
      return {Kind::convolution_backward_filter,
              filter_alpha,
              filter_beta,
              filter_convolution,
              filter_x,
              filter_w,
              filter_y};
  }
}

}  // namespace

Descriptor::Descriptor(const Api& api, Kind kind) : api_(&api), kind_(kind) {
  check(api.create_descriptor(kind, &raw_), "create");
}

Descriptor::Descriptor(Descriptor&& other) noexcept
    : api_(other.api_), kind_(other.kind_), raw_(std::exchange(other.raw_, nullptr)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(api_, other.api_);
  std::swap(kind_, other.kind_);
  std::swap(raw_, other.raw_);
  return *this;
}

Descriptor::~Descriptor() {
  if (raw_) api_->destroy_descriptor(raw_);
}

void Descriptor::check(Status status, const std::string& what) const {
  if (status == Status::success) [[likely]]
    return;
  std::array<char, 1024> message{};
  api_->last_error(message.data(), message.size());
  fail(status == Status::no_device_memory,
       fmt::format("cuDNN: {} of a descriptor of kind {}: {} {}", what, static_cast<int>(kind_),
                   api_->status_name(status), message.data()));
}

void Descriptor::set(Attribute attribute, Type type, int64_t count, const void* values) {
  check(api_->set_attribute(raw_, attribute, type, count, values),
        fmt::format("attribute {}", static_cast<int>(attribute)));
}

int64_t Descriptor::get(Attribute attribute, Type type, int64_t capacity, void* values) const {
  int64_t count = 0;
  check(api_->get_attribute(raw_, attribute, type, capacity, &count, values),
        fmt::format("reading attribute {}", static_cast<int>(attribute)));
  return capacity == 0 ? count : std::min(count, capacity);
}

void Descriptor::finalize() { check(api_->finalize(raw_), "finalising"); }
bool Descriptor::try_finalize(Queue* queue) {
  const auto call = [&] { return api_->finalize(raw_); };
  const Status status = queue ? queue->with_reserve(Status::no_device_memory, call) : call();
  if (status == Status::no_device_memory) check(status, "finalising");
  return status == Status::success;
}

Descriptor device_properties(const Api& api, const std::string& json) {
  Descriptor descriptor(api, Kind::device_properties);
  descriptor.set(Attribute::device_properties_json, Type::text, static_cast<int64_t>(json.size()), json.data());
  descriptor.finalize();
  return descriptor;
}

bool is_allowed(std::span<const NumericalNote> numerics, std::span<const BehaviourNote> behaviour,
                Precision precision) {
  const bool exact = std::ranges::all_of(numerics, [&](NumericalNote note) {
    return note == NumericalNote::strict_nan || (note == NumericalNote::tensor_core && precision != Precision::fp32);
  });
  return exact && std::ranges::find(behaviour, BehaviourNote::compiled_at_run_time) == behaviour.end();
}

Convolution::Convolution(const Api& api, const Problem& problem)
    : api_(&api),
      x_(tensor(api, x_id, problem.type, problem.shape.batch, problem.shape.in_channels, problem.shape.height,
                problem.shape.width)),
      w_(tensor(api, w_id, problem.type, problem.shape.out_channels, problem.shape.in_channels,
                problem.shape.kernel_height, problem.shape.kernel_width)),
      y_(tensor(api, y_id, problem.type, problem.shape.batch, problem.shape.out_channels, problem.shape.out_height(),
                problem.shape.out_width())),
      convolution_(geometry(api, problem.shape)),
      operation_(api, names_of(problem.operation).kind) {
  const OperationNames names = names_of(problem.operation);
  operation_.set(names.convolution, convolution_);
  operation_.set(names.x, x_);
  operation_.set(names.w, w_);
  operation_.set(names.y, y_);
  operation_.set(names.alpha, Type::fp32, 1.0f);
  operation_.set(names.beta, Type::fp32, 0.0f);
  operation_.finalize();
}

std::vector<Descriptor> Convolution::configurations(const Target& target, Descriptor& graph,
                                                    HeuristicsMode mode) const {
  Descriptor heuristics(*api_, Kind::heuristics);
  heuristics.set(Attribute::heuristics_graph, graph);
  heuristics.set(Attribute::heuristics_mode, Type::heuristics_mode, mode);
  if (target.device_properties) heuristics.set(Attribute::heuristics_device_properties, *target.device_properties);
  std::vector<Descriptor> results;
  if (!heuristics.try_finalize(target.queue)) return results;
  const int64_t count = heuristics.get(Attribute::heuristics_results, Type::descriptor, 0, nullptr);
  for (int64_t i = 0; i < count; ++i) results.emplace_back(*api_, Kind::engine_config);
  std::vector<RawDescriptor> raw;
  for (const Descriptor& result : results) raw.push_back(result.raw());
  if (count > 0) {
    const int64_t filled = heuristics.get(Attribute::heuristics_results, Type::descriptor, count, raw.data());
    results.erase(results.begin() + filled, results.end());
  }
  return results;
}

std::vector<Plan> Convolution::plans(const Target& target, Precision precision, size_t most_workspace, int most) const {
  Descriptor graph(*api_, Kind::graph);
  graph.set(Attribute::graph_operations, operation_);
  if (target.handle) graph.set(Attribute::graph_handle, Type::handle, target.handle);
  std::vector<Plan> plans;
  if (!graph.try_finalize(target.queue)) return plans;
  int position = -1;
  for (const HeuristicsMode mode : {HeuristicsMode::best_first, HeuristicsMode::fallback}) {
    for (Descriptor& configuration : configurations(target, graph, mode)) {
      Descriptor engine(*api_, Kind::engine);
      RawDescriptor raw_engine = engine.raw();
      configuration.get(Attribute::config_engine, Type::descriptor, 1, &raw_engine);
      const auto numerics = engine.get<NumericalNote>(Attribute::engine_numerical_notes, Type::numerical_note, 32);
      const auto behaviour = engine.get<BehaviourNote>(Attribute::engine_behaviour_notes, Type::behaviour_note, 32);
      if (!is_allowed(numerics, behaviour, precision)) continue;
      ++position;
      Descriptor plan(*api_, Kind::plan);
      plan.set(Attribute::plan_config, configuration);
      if (target.handle) plan.set(Attribute::plan_handle, Type::handle, target.handle);
      if (target.device_properties) plan.set(Attribute::plan_device_properties, *target.device_properties);
      if (!plan.try_finalize(target.queue)) continue;
      const int64_t bytes = plan.get<int64_t>(Attribute::plan_workspace_bytes, Type::int64, 1).at(0);
      if (bytes < 0 || static_cast<size_t>(bytes) > most_workspace) continue;
      const int64_t index = engine.get<int64_t>(Attribute::engine_index, Type::int64, 1).at(0);
      plans.push_back({std::move(configuration), std::move(plan), position, index, static_cast<size_t>(bytes)});
      if (static_cast<int>(plans.size()) == most) return plans;
    }
  }
  return plans;
}

void Convolution::execute(Queue& queue, Handle handle, const Plan& plan, const void* x, const void* w, const void* y,
                          void* workspace) const {
  Descriptor pack(*api_, Kind::variant_pack);
  const std::array<const void*, 3> pointers{x, w, y};
  pack.set(Attribute::pack_ids, std::array{x_id, w_id, y_id});
  pack.set(Attribute::pack_pointers, Type::pointer, 3, pointers.data());
  pack.set(Attribute::pack_workspace, Type::pointer, workspace);
  pack.finalize();
  const Status status =
      queue.with_reserve(Status::no_device_memory, [&] { return api_->execute(handle, plan.plan.raw(), pack.raw()); });
  if (status != Status::success)
    fail(status == Status::no_device_memory,
         fmt::format("cuDNN: executing engine {}: {}", plan.engine, api_->status_name(status)));
}

}  // namespace noisysgd::kernels::cudnn
