#include <noisysgd/bench/program/curvature.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include <noisysgd/bench/measure.h>
#include <noisysgd/bench/program/networks.h>
#include <noisysgd/bench/program/training.h>
#include <noisysgd/layers/curvature_product.h>

namespace noisysgd::bench {

namespace {

struct Work {
  const char* name;
  std::optional<CurvatureMatrix> matrix;  // none: the gradient
};

constexpr Work all_work[] = {{"gradient", {}},
                             {"Hessian product", CurvatureMatrix::hessian},
                             {"Gauss-Newton product", CurvatureMatrix::gauss_newton},
                             {"Fisher product", CurvatureMatrix::fisher}};

Model folded_model(Context& context, const std::string& network) {
  Model model(context, make_network(network), classes);
  model.parameter_set().initialise(1);
  return std::move(model).fold_batch_norm();
}

class Subject {
 public:
  Subject(Context& context, const std::string& network, const StepOptions& options)
      : micro_(options.micro),
        model_(folded_model(context, network)),
        direction_(context, model_.parameter_set()),
        sum_(context, model_.parameter_set()),
        batch_(random_loader(context, model_.network().input_shape(), options.batch).ordered(0, options.batch)) {
    copy(context, random_tensor(context, model_.parameter_set().padded(), 1), direction_.all());
  }

  // Of the first `samples` of the batch.
  void run(const Work& work, int64_t samples) {
    const int64_t micro = micro_ == 0 ? samples : micro_;
    for (int64_t begin = 0; begin < samples; begin += micro) {
      const Batch part = batch_.rows(begin, std::min(samples, begin + micro));
      if (work.matrix)
        CurvatureProduct(model_, {.matrix = *work.matrix}).add(part, direction_, sum_);
      else
        model_.accumulate(part, {}, std::array{BackwardJob{.into = {.gradient = sum_}}});
    }
  }

 private:
  int64_t micro_;
  Model model_;
  Block direction_, sum_;
  Batch batch_;
};

// What one pass takes beside the model, its blocks and the batch.
size_t measure_memory(const std::string& network, const Work& work, const StepOptions& options) {
  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  Subject subject(context, network, options);
  const size_t before = context.allocator.use().active;
  context.allocator.reset_peak();
  // One micro-batch after the other uses the same memory.
  subject.run(work, options.micro == 0 ? options.batch : std::min(options.batch, 2 * options.micro));
  return context.allocator.use().peak - before;
}

}  // namespace

Section measure_curvature(const std::string& network, const StepOptions& options) {
  const int64_t micro = options.micro == 0 ? options.batch : options.micro;
  std::vector<size_t> memory;
  for (const Work& work : all_work) memory.push_back(measure_memory(network, work, options));

  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  Subject subject(context, network, options);
  std::vector<Call> cases;
  for (const Work& work : all_work)
    cases.push_back(
        {work.name, [&, work] { subject.run(work, options.batch); }, [&, work] { subject.run(work, micro); }});
  const std::vector<Samples> times = measure(context.queue, cases, options.rounds);

  Section section{
      .title = fmt::format("Curvature products: {}, batch {}, micro-batch {}", network, options.batch, micro),
      .note = fmt::format("Medians of {} alternating calls; ratios are medians over rounds. Batch normalisations "
                          "are folded, in the gradient too. Memory: the peak of a pass's tensors, beside "
                          "the model and the batch.",
                          options.rounds),
      .table = TextTable({"work", "ms", "p5 – p95", "samples/s", "time / gradient", "peak MiB", "memory / gradient"}),
      .key = "curvature",
      .json = {{"network", network},
               {"batch", options.batch},
               {"micro", micro},
               {"precision", name_of(options.precision)},
               {"rounds", options.rounds},
               {"variants", Json::array()}}};
  for (size_t i = 0; i < cases.size(); ++i) {
    const double time_ratio = times[i].ratio(times[0]);
    const double memory_ratio = static_cast<double>(memory[i]) / static_cast<double>(memory[0]);
    section.table.add_row({cases[i].name, milliseconds(times[i].median()), times[i].spread(),
                           fmt::format("{:.0f}", static_cast<double>(options.batch) / times[i].median()),
                           fmt::format("{:.3f}", time_ratio),
                           fmt::format("{:.1f}", static_cast<double>(memory[i]) / (1 << 20)),
                           fmt::format("{:.3f}", memory_ratio)});
    section.json["variants"].push_back({{"name", cases[i].name},
                                        {"seconds", times[i].json()},
                                        {"time_ratio", time_ratio},
                                        {"peak_bytes", memory[i]},
                                        {"memory_ratio", memory_ratio}});
  }
  return section;
}

}  // namespace noisysgd::bench
