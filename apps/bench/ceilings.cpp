#include <noisysgd/apps/bench/ceilings.h>

#include <fmt/format.h>

#include <cstring>

#include <noisysgd/apps/bench/fma_peak.h>
#include <noisysgd/apps/bench/measure.h>
#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/gemm.h>
#include <noisysgd/kernels/parallel.h>

namespace noisysgd::bench {

namespace {

// Times of copying `floats` floats on the processor. The data should be larger than its last-level cache.
Samples measure_copy(int threads, int rounds, int64_t floats) {
  Context context({}, threads);
  const Tensor from = zeros(context, {floats}), to = zeros(context, {floats});
  return measure(context.queue,
                 {{"copy",
                   [&] {
                     kernels::cpu::parallel_ranges(context.queue, floats, 1, [&](int64_t begin, int64_t end) {
                       std::memcpy(to.f32() + begin, from.f32() + begin,
                                   static_cast<size_t>(end - begin) * sizeof(float));
                     });
                   }}},
                 rounds)[0];
}

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
    const double copy = 8.0 * static_cast<double>(copied) / measure_copy(count, rounds, copied).median();
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

double copy_bandwidth(Context& context, int rounds, int64_t floats) {
  const Tensor from = zeros(context, {floats}), to(context, {floats});
  const Samples times = measure(context.queue, {{"copy", [&] { copy(context, from, to); }}}, rounds)[0];
  return 8.0 * static_cast<double>(floats) / times.median();
}

double gemm_peak(Context& context, int rounds, int64_t order) {
  const auto flops = 2.0 * static_cast<double>(order) * static_cast<double>(order) * static_cast<double>(order);
  return flops / measure_gemm(context, rounds, order).median();
}

Section measure_device_ceilings(const Device& device, const DeviceSizes& sizes, int rounds) {
  Section section{
      .title = "Ceilings of " + device.name(),
      .note = fmt::format("Medians of {} rounds: copying {} MiB (read + written bytes), and a {}x{}x{} "
                          "product of operands stored in fp32 and rounded as the precision says.",
                          rounds, sizes.copied_floats * 4 >> 20, sizes.gemm_order, sizes.gemm_order, sizes.gemm_order),
      .table = TextTable({"copy, GB/s", "fp32, TFLOP/s", "tf32, TFLOP/s", "bf16, TFLOP/s"}),
      .key = "ceilings",
      .json = Json::object()};
  Context context(device);
  const double copied = copy_bandwidth(context, rounds, sizes.copied_floats);
  section.json["copy_bytes_per_second"] = copied;
  std::vector<std::string> row{fmt::format("{:.1f}", copied * 1e-9)};
  for (const kernels::Precision precision : kernels::precisions) {
    context.queue.set_precision(precision);
    const double rate = gemm_peak(context, rounds, sizes.gemm_order);
    section.json[fmt::format("{}_flops_per_second", name_of(precision))] = rate;
    row.push_back(fmt::format("{:.2f}", rate * 1e-12));
  }
  section.table.add_row(row);
  return section;
}

}  // namespace noisysgd::bench
