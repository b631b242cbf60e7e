#include <noisysgd/bench/ceilings.h>

#include <fmt/format.h>

#include <cstring>

#include <noisysgd/bench/fma_peak.h>
#include <noisysgd/bench/measure.h>
#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/parallel.h>

namespace noisysgd::bench {

namespace {

Samples measure_gemm(Context& context, int rounds, int64_t size) {
  const Tensor a = random_tensor(context, size * size, 0), b = random_tensor(context, size * size, 1),
               c(context, {size * size});
  const auto product = [&] {
    kernels::gemm(context.queue, kernels::Transpose::no, kernels::Transpose::no, size, size, size, 1, a.f32(), b.f32(),
                  0, c.f32());
  };
  return measure(context.queue, {{"gemm", product}}, rounds)[0];
}

}  // namespace

Section measure_ceilings(int threads, int rounds) {
  constexpr int64_t copied = int64_t{1} << 27, order = 2048;
  Section section{
      .title = "Ceilings",
      .note = fmt::format("Best run of the FMA loop; medians of copying {} MiB (read + written bytes) and of "
                          "a {}x{}x{} sgemm.",
                          copied * 4 >> 20, order, order, order),
      .table = TextTable({"threads", "FMA peak, GFLOP/s", "copy, GB/s", "sgemm, GFLOP/s", "sgemm, % of peak"}),
      .key = "ceilings",
      .json = Json::array()};
  std::vector<int> thread_counts{1};
  if (threads > 1) thread_counts.push_back(threads);
  for (const int count : thread_counts) {
    Context context({}, count);
    const double peak = fma_peak(count, rounds);
    const double copy = copy_bandwidth(context, rounds, copied);
    const double sgemm =
        2.0 * static_cast<double>(order * order * order) / measure_gemm(context, rounds, order).median();
    section.table.add_row({std::to_string(count), fmt::format("{:.1f}", peak * 1e-9),
                           fmt::format("{:.1f}", copy * 1e-9), fmt::format("{:.1f}", sgemm * 1e-9),
                           fmt::format("{:.0f}", 100 * sgemm / peak)});
    section.json.push_back({{"threads", count},
                            {"fma_flops_per_second", peak},
                            {"copy_bytes_per_second", copy},
                            {"sgemm_flops_per_second", sgemm}});
  }
  return section;
}

DeviceSizes DeviceSizes::of(const Device& device, bool emulated) {
  if (emulated) return {1 << 12, 32, 4096, 2};
  DeviceSizes sizes;
  if (device.backend == Backend::cpu) sizes.copied_floats = int64_t{1} << 27;
  return sizes;
}

double copy_bandwidth(Context& context, int rounds, int64_t floats) {
  const Tensor from = zeros(context, {floats}), to = zeros(context, {floats});
  // The CPU's copy of tensors uses one thread.
  const auto by_all_threads = [&] {
    kernels::cpu::parallel_ranges(context.queue, floats, 1, [&](int64_t begin, int64_t end) {
      std::memcpy(to.f32() + begin, from.f32() + begin, static_cast<size_t>(end - begin) * sizeof(float));
    });
  };
  const auto on_device = [&] { copy(context, from, to); };
  const bool cpu = context.queue.device().backend == Backend::cpu;
  const Call call{"copy", cpu ? std::function<void()>(by_all_threads) : on_device};
  return 8.0 * static_cast<double>(floats) / measure(context.queue, {call}, rounds)[0].median();
}

double gemm_peak(Context& context, int rounds, int64_t order) {
  const auto flops = 2.0 * static_cast<double>(order) * static_cast<double>(order) * static_cast<double>(order);
  return flops / measure_gemm(context, rounds, order).median();
}

Roofs measure_roofs(Context& context, const DeviceSizes& sizes, int rounds) {
  const double copied = copy_bandwidth(context, rounds, sizes.copied_floats);
  if (context.queue.device().backend == Backend::cpu) return {copied, fma_peak(context.queue.threads(), rounds), "FMA"};
  const kernels::Precision precision = context.queue.precision();
  context.queue.set_precision(kernels::Precision::fp32);
  const Roofs roofs{copied, gemm_peak(context, rounds, sizes.gemm_order), "product"};
  context.queue.set_precision(precision);
  return roofs;
}

Section measure_device_ceilings(const Device& device, const DeviceSizes& sizes, int rounds) {
  Section section{
      .title = "Ceilings of " + device.name(),
      .note = fmt::format("Medians of {} rounds: copying {} MiB (read + written bytes), and a {}x{}x{} "
                          "product of operands stored in fp32 and rounded as the precision says.",
                          rounds, sizes.copied_floats * 4 >> 20, sizes.gemm_order, sizes.gemm_order, sizes.gemm_order),
      .table = TextTable({"copy, GB/s", "fp32, TFLOP/s", "tf32, TFLOP/s"}),
      .key = "ceilings",
      .json = Json::object()};
  Context context(device);
  const double copied = copy_bandwidth(context, rounds, sizes.copied_floats);
  section.json["copy_bytes_per_second"] = copied;
  std::vector<std::string> row{fmt::format("{:.1f}", copied * 1e-9)};
  for (const auto precision : {kernels::Precision::fp32, kernels::Precision::tf32}) {
    context.queue.set_precision(precision);
    const double rate = gemm_peak(context, rounds, sizes.gemm_order);
    section.json[fmt::format("{}_flops_per_second", name_of(precision))] = rate;
    row.push_back(fmt::format("{:.2f}", rate * 1e-12));
  }
  section.table.add_row(row);
  return section;
}

}  // namespace noisysgd::bench
