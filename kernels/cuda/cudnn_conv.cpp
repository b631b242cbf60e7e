#include <noisysgd/kernels/cuda/cudnn_conv.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include <noisysgd/kernels/cuda/cudnn_probe.h>
#include <noisysgd/kernels/cuda/event_timer.h>
#include <noisysgd/kernels/convert.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cudnn {

namespace {

constexpr int most_plans = 8;  // plans that are timed per type of operands
constexpr int timed_runs = 3;  // after one run that is not timed
constexpr size_t largest_workspace = size_t{1} << 30;

std::string problem_name(Operation operation, const ConvShape& s, Precision precision) {
  return fmt::format("{}-{}-n{}-{}x{}x{}-k{}-{}x{}-stride{}x{}-pad{}x{}", name_of(operation), name_of(precision),
                     s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.kernel_width,
                     s.stride_height, s.stride_width, s.padding_height, s.padding_width) +
         (precision == Precision::fp32 ? "-probed" : "");
}

template <class Work>
double seconds(Queue& queue, const Work& work) {
  work();
  cuda::EventTimer timer(queue);
  timer.start();
  for (int i = 0; i < timed_runs; ++i) work();
  return timer.stop();
}

}  // namespace

struct Convolutions::Route {
  std::shared_ptr<const Convolution> convolution;
  Plan plan;
  DataType type;

  cuda::PlanChoice choice() const { return {plan.position, plan.engine, type == DataType::bf16}; }
};

std::string version_text(const Api& api) {
  const size_t version = api.version();
  return fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

Convolutions::Convolutions(Queue& queue, const Api& api, int device_index, cudaStream_t stream) : api_(api) {
  cudaDeviceProp properties;
  NSGD_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  most_workspace_ = std::min(largest_workspace, properties.totalGlobalMem / 16);
  cache_.emplace(version_text(api), properties.name);
  Status status = queue.with_reserve(Status::no_device_memory, [&] { return api.create(&handle_); });
  if (status == Status::success && (status = api.set_stream(handle_, stream)) != Status::success) api.destroy(handle_);
  if (status != Status::success)
    fail(status == Status::no_device_memory,
         fmt::format("{}: {}; NSGD_CUDNN=off runs without cuDNN", version_text(api), api.status_name(status)));
}

Convolutions::~Convolutions() { api_.destroy(handle_); }

bool Convolutions::convolve(Queue& queue, Operation operation, const ConvShape& s, const float* x, const float* w,
                            const float* y, const OwnKernel& own) {
  // Plans require aligned addresses, but rows of a larger tensor may begin anywhere.
  for (const float* address : {x, w, y})
    if (reinterpret_cast<uintptr_t>(address) % 16 != 0) return false;
  const Key key{operation, queue.precision(), s, own != nullptr};
  const Operands operands{operation, s, {x, w, y}};
  auto found = chosen_.find(key);
  if (found == chosen_.end()) {
    Choice choice;
    try {
      choice = choose(queue, operands, own);
    } catch (const OutOfMemory&) {
      if (!own) throw;
    }
    if (!choice.is_final) return false;
    found = chosen_.emplace(key, std::move(choice.route)).first;
  }
  if (!found->second) return false;
  run(queue, *found->second, operands);
  return true;
}

std::vector<Convolutions::Route> Convolutions::routes(Queue& queue, Operation operation, const ConvShape& shape) const {
  const Precision precision = queue.precision();
  std::vector<DataType> types{DataType::fp32};
  // With bf16 inputs cuDNN also writes its result in bf16. A weight gradient is a sum over the batch and should not be
  // rounded to bf16, so it uses fp32 tensors, with products in tf32.
  if (precision == Precision::bf16 && operation != Operation::backward_filter)
    types.insert(types.begin(), DataType::bf16);
  std::vector<Route> routes;
  for (const DataType type : types) {
    const auto convolution = std::make_shared<const Convolution>(api_, Problem{operation, shape, type});
    for (Plan& plan : convolution->plans({.handle = handle_, .queue = &queue}, precision, most_workspace_, most_plans))
      routes.push_back({convolution, std::move(plan), type});
  }
  return routes;
}

Convolutions::Choice Convolutions::choose(Queue& queue, const Operands& operands, const OwnKernel& own) const {
  const bool fp32 = queue.precision() == Precision::fp32, capturing = queue.recording();
  const std::string name = problem_name(operands.operation, operands.shape, queue.precision()) + (own ? "-or-own" : "");
  const std::optional<cuda::PlanChoice> known = cache_->read(name);
  if (own && known == cuda::own_kernel) return {};
  std::vector<Route> candidates = routes(queue, operands.operation, operands.shape);
  const auto same = std::ranges::find_if(candidates, [&](const Route& route) { return route.choice() == known; });
  if (same != candidates.end()) return {std::make_unique<Route>(std::move(*same))};
  if (candidates.empty()) return {};
  if (capturing) {
    if (fp32 || own) return {nullptr, false};
    return {std::make_unique<Route>(std::move(candidates.front()))};
  }
  if (fp32) {
    const Probe probe(queue, handle_, operands.operation, operands.shape);
    if (!probe.has_memory()) return {nullptr, false};
    std::erase_if(candidates, [&](const Route& route) { return !probe.is_fp32(*route.convolution, route.plan); });
    if (candidates.empty()) return {};
  }
  const Route* const best = fastest(queue, candidates, operands, own);
  cache_->write(name, best ? best->choice() : cuda::own_kernel);
  if (!best) return {};
  return {std::make_unique<Route>(std::move(candidates[static_cast<size_t>(best - candidates.data())]))};
}

const Convolutions::Route* Convolutions::fastest(Queue& queue, const std::vector<Route>& routes, Operands operands,
                                                 const OwnKernel& own) const {
  const size_t result = result_of(operands.operation);
  Scratch scratch(queue);
  auto* target = const_cast<float*>(operands.xwy[result]);
  if (operands.operation == Operation::backward_filter)
    operands.xwy[result] = target = scratch.take<float>(operands.shape.weights());
  const Route* best = nullptr;
  double least = own ? seconds(queue, [&] { own(target); }) : std::numeric_limits<double>::infinity();
  for (const Route& route : routes) {
    const double time = seconds(queue, [&] { run(queue, route, operands); });
    if (time >= least) continue;
    least = time;
    best = &route;
  }
  return best;
}

void Convolutions::run(Queue& queue, const Route& route, const Operands& operands) const {
  const size_t result = result_of(operands.operation);
  const auto elements = tensor_sizes(operands.shape);
  const bool bf16 = route.type == DataType::bf16, accumulates = operands.operation == Operation::backward_filter;
  const auto converted_size = [&](size_t i) { return bf16 ? elements[i] : 0; };
  Scratch scratch(queue);
  const auto [workspace, x, w, y, sum] = scratch.take<std::byte, uint16_t, uint16_t, uint16_t, float>(
      route.plan.workspace_bytes, converted_size(0), converted_size(1), converted_size(2),
      accumulates ? elements[result] : 0);
  const std::array<uint16_t*, 3> converted{x, w, y};

  std::array<const void*, 3> given{operands.xwy[0], operands.xwy[1], operands.xwy[2]};
  if (accumulates) given[result] = sum;
  if (bf16)
    for (size_t i = 0; i < 3; ++i) {
      given[i] = converted[i];
      if (i != result) kernels::convert(queue, elements[i], operands.xwy[i], {converted[i], DType::bf16});
    }
  route.convolution->execute(queue, handle_, route.plan, given[0], given[1], given[2], workspace);
  auto* const target = const_cast<float*>(operands.xwy[result]);
  if (bf16) kernels::convert(queue, elements[result], ConstValues(converted[result], DType::bf16), target);
  if (accumulates) kernels::add(queue, elements[result], sum, target);
}

}  // namespace noisysgd::kernels::cudnn
