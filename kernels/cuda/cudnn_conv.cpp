#include <noisysgd/kernels/cuda/cudnn_conv.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include <noisysgd/kernels/convert.h>
#include <noisysgd/kernels/cuda/cudnn_probe.h>
#include <noisysgd/kernels/cuda/event_timer.h>
#include <noisysgd/kernels/cuda/widened.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cudnn {

namespace {

constexpr int most_plans = 8;  // plans that are timed
constexpr int timed_runs = 3;  // after one run that is not timed
constexpr size_t largest_workspace = size_t{1} << 30;

std::string problem_name(Operation operation, const ConvShape& s, DType dtype, Precision precision) {
  return fmt::format("{}-{}-n{}-{}x{}x{}-k{}-{}x{}-stride{}x{}-pad{}x{}", name_of(operation),
                     is_half(dtype) ? name_of(dtype) : name_of(precision), s.batch, s.height, s.width, s.in_channels,
                     s.out_channels, s.kernel_height, s.kernel_width, s.stride_height, s.stride_width, s.padding_height,
                     s.padding_width) +
         (dtype == DType::f32 && precision == Precision::fp32 ? "-probed" : "");
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
};

Convolutions::Convolutions(Queue& queue, int device_index, cudaStream_t stream)
    : handle_(with_reserve(queue, [&] { return make_handle(stream); })) {
  cudaDeviceProp properties;
  NSGD_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  most_workspace_ = std::min(largest_workspace, properties.totalGlobalMem / 16);
  cache_.emplace(version_text(), properties.name);
}

Convolutions::~Convolutions() = default;

bool Convolutions::convolve(Queue& queue, Operation operation, const ConvShape& s, ConstValues x, const float* w,
                            ConstValues y, const OwnKernel& own) {
  const Operands operands{operation, s, {x, w, y}};
  // Plans require aligned addresses, but rows of a larger tensor may begin anywhere.
  for (const ConstValues& values : operands.xwy)
    if (reinterpret_cast<uintptr_t>(values.address) % 16 != 0) return false;
  if (x.type != y.type && operation != Operation::backward_filter) return false;
  const Key key{operation, operands.type(), queue.precision(), s, own != nullptr};
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

std::vector<Convolutions::Route> Convolutions::routes(Queue& queue, const Operands& operands) const {
  const Problem problem{operands.operation, operands.shape, operands.plan_type()};
  const PlanLimits limits{.precision = is_half(operands.plan_type()) ? Precision::half : queue.precision(),
                          .workspace_bytes = most_workspace_,
                          .count = most_plans};
  const auto convolution =
      with_reserve(queue, [&] { return std::make_shared<const Convolution>(handle_, problem, limits); });
  std::vector<Route> routes;
  for (const Plan& plan : convolution->plans()) routes.push_back({convolution, plan});
  return routes;
}

Convolutions::Choice Convolutions::choose(Queue& queue, const Operands& operands, const OwnKernel& own) const {
  const bool fp32 = operands.plan_type() == DType::f32 && queue.precision() == Precision::fp32;
  const bool capturing = queue.recording();
  const std::string name =
      problem_name(operands.operation, operands.shape, operands.type(), queue.precision()) + (own ? "-or-own" : "");
  const std::optional<std::string> known = cache_->read(name);
  if (own && known == cuda::own_kernel) return {};
  std::vector<Route> candidates = routes(queue, operands);
  const auto same = std::ranges::find_if(candidates, [&](const Route& route) { return route.plan.name == known; });
  if (same != candidates.end()) return {std::make_unique<Route>(std::move(*same))};
  if (candidates.empty()) return {};
  if (capturing) {
    if (fp32 || own) return {nullptr, false};
    return {std::make_unique<Route>(std::move(candidates.front()))};
  }
  if (fp32) {
    const Probe probe(queue, operands.operation, operands.shape);
    if (!probe.has_memory()) return {nullptr, false};
    std::erase_if(candidates, [&](const Route& route) { return !probe.is_fp32(*route.convolution, route.plan); });
    if (candidates.empty()) return {};
  }
  const Route* const best = fastest(queue, candidates, operands, own);
  cache_->write(name, best ? best->plan.name : cuda::own_kernel);
  if (!best) return {};
  return {std::make_unique<Route>(std::move(candidates[static_cast<size_t>(best - candidates.data())]))};
}

const Convolutions::Route* Convolutions::fastest(Queue& queue, const std::vector<Route>& routes, Operands operands,
                                                 const OwnKernel& own) const {
  const size_t result = result_of(operands.operation);
  Scratch scratch(queue);
  float* sum = nullptr;
  if (operands.operation == Operation::backward_filter)
    operands.xwy[result] = sum = scratch.take<float>(operands.shape.weights());
  const Route* best = nullptr;
  double least = own ? seconds(queue, [&] { own(sum); }) : std::numeric_limits<double>::infinity();
  for (const Route& route : routes) {
    const double time = seconds(queue, [&] { run(queue, route, operands); });
    if (time >= least) continue;
    least = time;
    best = &route;
  }
  return best;
}

void Convolutions::run(Queue& queue, const Route& route, const Operands& operands) const {
  constexpr size_t weight = 1;
  const auto elements = tensor_sizes(operands.shape);
  const bool accumulates = operands.operation == Operation::backward_filter, rounds = is_half(operands.plan_type());
  Scratch scratch(queue);
  const auto [workspace, rounded, sum] = scratch.take<std::byte, uint16_t, float>(
      route.plan.workspace_bytes, rounds ? elements[weight] : 0, accumulates ? elements[weight] : 0);
  std::array<const void*, 3> given{operands.xwy[0].address, operands.xwy[1].address, operands.xwy[2].address};
  if (accumulates) {
    for (const size_t i : {0, 2}) given[i] = cuda::widened(queue, scratch, elements[i], operands.xwy[i]);
    given[weight] = sum;
  }
  if (rounds) {
    kernels::convert(queue, elements[weight], operands.xwy[weight], Values(rounded, operands.type()));
    given[weight] = rounded;
  }
  with_reserve(queue, [&] { route.convolution->execute(route.plan, given[0], given[1], given[2], workspace); });
  if (accumulates)
    kernels::add(queue, elements[weight], sum, static_cast<float*>(const_cast<void*>(operands.xwy[weight].address)));
}

}  // namespace noisysgd::kernels::cudnn
