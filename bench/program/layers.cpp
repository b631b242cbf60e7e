#include <noisysgd/bench/program/layers.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include <noisysgd/bench/ceilings.h>
#include <noisysgd/bench/fma_peak.h>
#include <noisysgd/bench/measure.h>
#include <noisysgd/bench/program/networks.h>
#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/bias.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/gemm.h>

namespace noisysgd::bench {

namespace {

using kernels::ConvShape;
using kernels::Transpose;

// An operation on a layer, and the number of matrix products of the layer's size that it computes.
struct Operation {
  Call run;
  double products;
  bool compared = false;  // its time, with those of the weight gradients
};

constexpr const char *plain = "weight gradient", *by_cudnn = "weight gradient, cuDNN";

ConvShape conv_shape(const GraphNode& node, const Shape& input, int64_t batch) {
  const auto pair = [&](const char* key) { return std::get<std::array<int64_t, 2>>(node.attribute(key)); };
  const auto kernel = pair("kernel"), stride = pair("stride"), padding = pair("padding");
  return {batch,     input[0],  input[1],  input[2],   node.output[2], kernel[0],
          kernel[1], stride[0], stride[1], padding[0], padding[1]};
}

std::vector<Operation> conv_operations(Context& context, const ConvShape& s, bool has_bias) {
  const DType stored = context.queue.precision() == kernels::Precision::half ? DType::f16 : DType::f32;
  const Tensor x32 = random_tensor(context, s.batch * s.height * s.width * s.in_channels, 0),
               y32 = random_tensor(context, s.batch * s.positions() * s.out_channels, 1);
  const Tensor x = as_type(context, x32, stored), out(context, y32.shape(), stored);
  const Tensor y = as_type(context, y32, gradient_type(stored)), grad_x(context, x.shape(), gradient_type(stored));
  const Tensor weight = random_tensor(context, s.weights(), 2),
               bias = has_bias ? zeros(context, {s.out_channels}) : Tensor();
  const Tensor sum = zeros(context, weight.shape()), square = zeros(context, weight.shape());
  auto& queue = context.queue;
  std::vector<Operation> operations{
      {{"forward",
        [=, &queue] {
          kernels::conv_forward(queue, s, x.values(), weight.f32(), has_bias ? bias.f32() : nullptr, out.values());
        }},
       1},
      {{"data gradient",
        [=, &queue] { kernels::conv_backward_data(queue, s, weight.f32(), y.values(), grad_x.values()); }},
       1},
      {{plain, [=, &queue] { kernels::conv_backward_weight(queue, s, x.values(), y.values(), sum.f32()); }}, 1},
      {{"weight gradient, direct",
        [=, &queue] { kernels::conv_backward_weight_direct(queue, s, x.values(), y.values(), sum.f32()); }},
       1,
       true},
      {{"with second moment, exact",
        [=, &queue] { kernels::conv_second_moment_exact(queue, s, x.values(), y.values(), sum.f32(), square.f32()); }},
       1,
       true},
      {{"with second moment, spatial",
        [=, &queue] {
          kernels::conv_second_moment_spatial(queue, s, x.values(), y.values(), sum.f32(), square.f32());
        }},
       2,
       true},
  };
  if (queue.device().backend == Backend::cuda) {  // asynchronous products, from operands that are stored in bf16
    const Tensor x16 = as_type(context, x32, DType::bf16), y16 = as_type(context, y32, DType::bf16);
    const auto wgmma = [=, &queue](float* moment) {
      return kernels::conv_sample_sums_bf16(queue, s, x16.values(), y16.values(), moment, sum.f32());
    };
    if (wgmma(nullptr)) {
      operations.push_back({{"weight gradient, wgmma", [=] { wgmma(nullptr); }}, 1, true});
      operations.push_back({{"with second moment, exact, wgmma", [=] { wgmma(square.f32()); }}, 1, true});
    }
  }
  const auto library = [=, &queue] {
    return kernels::conv_backward_weight_cudnn(queue, s, x32.f32(), y32.f32(), sum.f32());
  };
  if (library()) operations.insert(operations.begin() + 3, {{by_cudnn, library}, 1});  // after the plain one
  return operations;
}

std::vector<Operation> linear_operations(Context& context, int64_t samples, int64_t inputs, int64_t outputs,
                                         bool has_bias) {
  const Tensor x = random_tensor(context, samples * inputs, 0), grad_x(context, x.shape());
  const Tensor y = random_tensor(context, samples * outputs, 1), out(context, y.shape());
  const Tensor weight = random_tensor(context, inputs * outputs, 2), bias = zeros(context, {outputs});
  const Tensor sum = zeros(context, weight.shape()), square = zeros(context, weight.shape());
  auto& queue = context.queue;
  const auto gradient = [=, &queue] {
    kernels::gemm(queue, Transpose::yes, Transpose::no, outputs, inputs, samples, 1, y.f32(), x.f32(), 1, sum.f32());
  };
  return {
      {{"forward",
        [=, &queue] {
          kernels::gemm(queue, Transpose::no, Transpose::yes, samples, outputs, inputs, 1, x.f32(), weight.f32(), 0,
                        out.f32());
          if (has_bias) kernels::bias_add(queue, samples, outputs, bias.f32(), out.f32());
        }},
       1},
      {{"data gradient",
        [=, &queue] {
          kernels::gemm(queue, Transpose::no, Transpose::no, samples, inputs, outputs, 1, y.f32(), weight.f32(), 0,
                        grad_x.f32());
        }},
       1},
      {{plain, gradient}, 1},
      {{"with second moment, exact",
        [=, &queue] {
          gradient();
          kernels::linear_second_moment(queue, samples, outputs, inputs, x.f32(), y.f32(), square.f32());
        }},
       2,
       true},
  };
}

// A group of equal layers: the first of them, and their number.
struct EqualLayers {
  GraphNode node;
  Shape input;
  int64_t layers = 0;
};

std::vector<EqualLayers> distinct_layers(const Layer& layer) {
  Graph graph{layer.input_shape(), classes, {}};
  layer.describe(graph, "input");
  std::map<std::string, Shape> outputs{{"input", layer.input_shape()}};
  std::vector<EqualLayers> distinct;
  for (const GraphNode& node : graph.nodes) {
    const Shape& input = outputs.at(node.inputs.front());
    outputs[node.name] = node.output;
    if (node.type != "conv2d" && node.type != "linear") continue;
    const auto same = [&](const EqualLayers& other) {
      return other.node.type == node.type && other.node.attributes == node.attributes && other.input == input &&
             other.node.output == node.output;
    };
    auto found = std::find_if(distinct.begin(), distinct.end(), same);
    if (found == distinct.end()) found = distinct.insert(found, {node, input});
    ++found->layers;
  }
  return distinct;
}

}  // namespace

Section measure_layers(const std::string& network, const LayerOptions& options) {
  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  const bool on_device = options.device.backend == Backend::cuda;
  const double peak = on_device ? gemm_peak(context, options.rounds, options.sizes.gemm_order)
                                : fma_peak(context.queue.threads(), options.rounds);
  const std::string ceiling =
      on_device ? fmt::format("of a {0}x{0}x{0} product at {1}", options.sizes.gemm_order, name_of(options.precision))
                : fmt::format("the measured FMA peak of {} thread(s)", context.queue.threads());
  std::vector<std::string> columns{"layer", "operation", "ms", "p5 – p95", "GFLOP/s", "% of peak", "ratio"};
  if (on_device) columns.push_back("ratio to cuDNN");
  std::vector<TextTable::Align> alignment(columns.size(), TextTable::Align::right);
  alignment[0] = alignment[1] = TextTable::Align::left;
  Section section{
      .title = fmt::format("Layers: {}, batch {}", network, options.batch),
      .note = fmt::format("Medians of {} alternating rounds; the peak, {:.1f} GFLOP/s, is {}. "
                          "Ratio: time over that of the plain weight gradient{}.",
                          options.rounds, peak * 1e-9, ceiling, on_device ? "; to cuDNN: over that of cuDNN's" : ""),
      .table = TextTable(columns, alignment),
      .key = "layers",
      .json = {{"network", network},
               {"batch", options.batch},
               {"precision", name_of(options.precision)},
               {"peak_flops_per_second", peak},
               {"layers", Json::array()}}};

  for (const auto& [node, input, layers] : distinct_layers(*make_network(network))) {
    const bool has_bias = std::get<bool>(node.attribute("bias"));
    const std::vector<Operation> operations =
        node.type == "linear" ? linear_operations(context, options.batch, input[0], node.output[0], has_bias)
                              : conv_operations(context, conv_shape(node, input, options.batch), has_bias);
    const std::string name = layers == 1 ? node.name : fmt::format("{} and {} alike", node.name, layers - 1);

    std::vector<Call> cases;
    for (const Operation& operation : operations) cases.push_back(operation.run);
    const std::vector<Samples> times = measure(context.queue, cases, options.rounds);
    std::map<std::string, const Samples*> by_name;
    for (size_t i = 0; i < cases.size(); ++i) by_name[cases[i].name] = &times[i];
    Json measured = {
        {"layer", node.name}, {"count", layers}, {"input", input.extents()}, {"output", node.output.extents()}};
    for (size_t i = 0; i < operations.size(); ++i) {
      const Operation& operation = operations[i];
      const double rate = operation.products * static_cast<double>(node.flops * options.batch) / times[i].median();
      std::string ratios[2];
      Json entry = {{"seconds", times[i].json()}, {"flops_per_second", rate}};
      const std::pair<const char*, const char*> bases[] = {{"ratio", plain}, {"ratio_to_cudnn", by_cudnn}};
      for (size_t base = 0; base < std::size(bases); ++base) {
        const auto& [key, of] = bases[base];
        const bool compared = operation.compared || (base == 1 && operation.run.name == plain);
        if (!compared || !by_name.contains(of)) continue;
        const double value = times[i].ratio(*by_name.at(of));
        ratios[base] = fmt::format("{:.2f}", value);
        entry[key] = value;
      }
      std::vector<std::string> row{i == 0 ? fmt::format("{} {} → {}", name, input.text(), node.output.text()) : "",
                                   operation.run.name,
                                   milliseconds(times[i].median()),
                                   times[i].spread(),
                                   fmt::format("{:.1f}", rate * 1e-9),
                                   fmt::format("{:.0f}", 100 * rate / peak),
                                   ratios[0]};
      if (on_device) row.push_back(ratios[1]);
      section.table.add_row(row);
      measured["operations"][operation.run.name] = std::move(entry);
    }
    section.json["layers"].push_back(std::move(measured));
  }
  return section;
}

}  // namespace noisysgd::bench
