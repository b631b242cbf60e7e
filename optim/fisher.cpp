#include <noisysgd/optim/fisher.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <noisysgd/kernels/fisher_average.h>
#include <noisysgd/kernels/reduce.h>
#include <noisysgd/kernels/step_factors.h>

namespace noisysgd {

FisherOptions read_fisher(const ConfigReader& json, std::optional<int64_t> ghost_size) {
  FisherOptions options;
  options.conv = json.choice<SecondMoment>("conv",
                                           {{"exact", SecondMoment::exact},
                                            {"spatial", SecondMoment::spatial},
                                            {"spatial_mean", SecondMoment::spatial_mean}},
                                           SecondMoment::exact);
  options.labels = json.choice<Labels>("kind", {{"empirical", Labels::data}, {"true", Labels::sampled}}, Labels::data);
  options.centered = json.boolean("centered", false);
  options.refresh_every = json.integer("refresh_every", {.default_value = 1, .at_least = 1});
  options.ema = json.number("ema", {.default_value = 0, .at_least = 0, .below = 1});
  options.batch_norm = json.choice<GhostFisher>("batch_norm",
                                                {{"activation", GhostFisher::activation},
                                                 {"activation_centered", GhostFisher::activation_centered},
                                                 {"ghost_variance", GhostFisher::ghost_variance}},
                                                GhostFisher::activation);
  const bool ghost_variance = options.batch_norm == GhostFisher::ghost_variance;
  options.ghost_size = ghost_size.value_or(0);
  if (ghost_variance && !ghost_size)
    json.error("batch_norm", "\"ghost_variance\" needs batch.ghost_size: the size of the batches whose gradients vary");
  if (ghost_variance && (options.conv != SecondMoment::exact || options.labels != Labels::data))
    json.error("batch_norm", "\"ghost_variance\" needs \"conv\": \"exact\" and \"kind\": \"empirical\"");
  if (ghost_variance && options.centered)
    json.error("centered", "cannot be used with \"batch_norm\": \"ghost_variance\", which is a variance already");
  if (options.batch_norm == GhostFisher::activation_centered && options.conv != SecondMoment::exact)
    json.error("batch_norm", "\"activation_centered\" needs \"conv\": \"exact\"");
  if (options.centered && options.conv != SecondMoment::exact)
    json.error("centered", "needs \"conv\": \"exact\": only the exact second moment has the mean gradient to subtract");
  if (options.centered && options.labels == Labels::sampled)
    json.error("centered", "needs \"kind\": \"empirical\": the mean gradient under sampled labels is not kept");
  return options;
}

std::string_view FisherOptions::batch_norm_name() const {
  return batch_norm == GhostFisher::activation            ? "activation"
         : batch_norm == GhostFisher::activation_centered ? "activation_centered"
                                                          : "ghost_variance";
}

void check_network(const FisherOptions& options, const Graph& graph) {
  if (options.batch_norm != GhostFisher::activation_centered) return;
  std::map<std::string, const GraphNode*> nodes;
  std::map<std::string, int> readers;
  for (const GraphNode& node : graph.nodes) {
    nodes[node.name] = &node;
    for (const std::string& input : node.inputs) ++readers[input];
  }
  bool any = false;
  for (const GraphNode& node : graph.nodes) {
    if (node.type != "batch_norm") continue;
    const std::string& input = node.inputs.at(0);
    const auto before = nodes.find(input);
    const bool gives = before != nodes.end() && !before->second->parameters.empty() &&
                       std::all_of(before->second->parameters.begin(), before->second->parameters.end(),
                                   [](const Parameter* parameter) { return parameter->gives_centered_squares; });
    NSGD_CHECK(gives,
               "fisher.batch_norm: \"activation_centered\" does not apply to '{}': its input comes from '{}', "
               "which is not a linear layer or a convolution",
               node.name, input);
    NSGD_CHECK(readers[input] == 1,
               "fisher.batch_norm: \"activation_centered\" does not apply to '{}': another layer "
               "also reads the output of '{}'",
               node.name, input);
    any = true;
  }
  NSGD_CHECK(any, "fisher.batch_norm: \"activation_centered\" does not apply to this network: it has no batch_norm");
}

kernels::NoiseCoefficients fisher_diagonal_coefficients(const FisherOptions& options, const Parameter& parameter,
                                                        int64_t batch) {
  const double samples = static_cast<double>(batch);
  kernels::NoiseCoefficients coefficients;
  if (options.batch_norm == GhostFisher::ghost_variance) {
    // With Q = sum_b (B G_b)^2 over K = M/B groups: B/(K-1) (sum_b G_b^2 - K G^2).
    const double ghost = static_cast<double>(options.ghost_size), groups = samples / ghost;
    NSGD_CHECK(batch > options.ghost_size && batch % options.ghost_size == 0,
               "fisher.batch_norm: \"ghost_variance\" needs two or more whole ghost batches of {}, not {} samples",
               options.ghost_size, batch);
    coefficients.second_moment = static_cast<float>(1 / (ghost * (groups - 1)));
    coefficients.gradient_sum = static_cast<float>(-1 / (ghost * groups * (groups - 1)));
  } else if (options.centered) {
    NSGD_CHECK(batch > 1, "fisher.centered: the centred Fisher matrix of a single sample is not defined");
    coefficients.second_moment = static_cast<float>(1 / (samples - 1));
    coefficients.gradient_sum = static_cast<float>(-1 / (samples * (samples - 1)));
  } else {
    coefficients.second_moment = static_cast<float>(1 / samples);
  }
  if (options.conv == SecondMoment::spatial_mean) coefficients.second_moment /= static_cast<float>(parameter.positions);
  return coefficients;
}

FisherSource fisher_source(const FisherStep& fisher, const Parameter& parameter) {
  if (fisher.options.kept()) return {{.second_moment = 1}, fisher.average.at(parameter)};
  return {fisher_diagonal_coefficients(fisher.options, parameter, fisher.batch),
          fisher.sums.second_moment.at(parameter)};
}

namespace {

void average_into(Context& context, const FisherStep& fisher, const Parameter& parameter, double decay,
                  float* average) {
  const kernels::NoiseCoefficients c = fisher_diagonal_coefficients(fisher.options, parameter, fisher.batch);
  kernels::fisher_average(context.queue, parameter.shape.elements(), c.second_moment, c.gradient_sum,
                          static_cast<float>(decay), fisher.sums.second_moment.at(parameter),
                          fisher.sums.gradient.at(parameter), average);
}

}  // namespace

void update_fisher_average(Context& context, const FisherStep& fisher, const std::vector<Parameter*>& parameters,
                           bool first) {
  for (const Parameter* parameter : parameters)
    average_into(context, fisher, *parameter, first ? 0 : fisher.options.ema, fisher.average.at(*parameter));
}

std::string layer_name(const Parameter& parameter) { return parameter.name.substr(0, parameter.name.rfind('.')); }

std::vector<std::string> layer_names(const std::vector<Parameter*>& parameters) {
  std::vector<std::string> names;
  for (const Parameter* parameter : parameters)
    if (names.empty() || names.back() != layer_name(*parameter)) names.push_back(layer_name(*parameter));
  return names;
}

std::vector<LayerFisher> read_layer_fisher(const std::vector<Parameter*>& parameters, const double* sums) {
  std::vector<LayerFisher> layers;
  for (const std::string& layer : layer_names(parameters)) {
    layers.push_back({layer, sums[0], std::sqrt(sums[1])});
    sums += 2;
  }
  return layers;
}

void layer_fisher(Context& context, const FisherStep& fisher, const std::vector<Parameter*>& parameters,
                  const Tensor& sums) {
  std::vector<Tensor> diagonals;
  std::vector<kernels::SummedTensor> summed;
  std::string layer;
  int32_t layers = 0;
  for (const Parameter* parameter : parameters) {
    if (layers == 0 || layer != layer_name(*parameter)) ++layers;
    layer = layer_name(*parameter);
    const Tensor& diagonal = diagonals.emplace_back(context, parameter->shape);
    average_into(context, fisher, *parameter, 0, diagonal.f32());
    summed.push_back({diagonal.elements(), diagonal.f32(), layers - 1});
  }
  kernels::tensor_sums(context.queue, summed, layers, sums.data<double>());
}

Tensor fisher_trace(Context& context, const FisherStep& fisher, const std::vector<Parameter*>& parameters,
                    double factor) {
  std::vector<kernels::SummedTensor> summed;
  std::vector<double> coefficients;  // even targets: of the sum; odd targets: of the sum of squares
  for (const Parameter* parameter : parameters) {
    const auto [c, second_moment] = fisher_source(fisher, *parameter);
    const auto target = static_cast<int32_t>(coefficients.size());
    const int64_t n = parameter->shape.elements();
    summed.push_back({n, second_moment, target});
    if (c.gradient_sum != 0) summed.push_back({n, fisher.sums.gradient.at(*parameter), target + 1});
    coefficients.push_back(c.second_moment);
    coefficients.push_back(c.gradient_sum);
  }
  const auto targets = static_cast<int32_t>(coefficients.size());
  const Tensor sums(context, {targets, 2}, DType::f64);
  kernels::tensor_sums(context.queue, summed, targets, sums.data<double>());
  std::vector<kernels::ScalarTerm> terms;
  for (size_t i = 0; i < coefficients.size(); ++i)
    if (i % 2 == 0 || coefficients[i] != 0) terms.push_back({coefficients[i], sums.data<double>() + 2 * i + i % 2});
  Tensor trace(context, {1}, DType::f64);
  kernels::weighted_total(context.queue, factor, 0, terms, trace.data<double>());
  return trace;
}

void fisher_diagonal(const FisherOptions& options, const Parameter& parameter, int64_t batch,
                     std::span<const float> sums, std::span<const float> squares, float* diagonal) {
  const kernels::NoiseCoefficients c = fisher_diagonal_coefficients(options, parameter, batch);
  for (size_t i = 0; i < sums.size(); ++i) {
    const float value = c.second_moment * squares[i] + c.gradient_sum * sums[i] * sums[i];
    diagonal[i] = value < 0 ? 0.0f : value;  // NaN stays NaN
  }
}

}  // namespace noisysgd
