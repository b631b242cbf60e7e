#include <noisysgd/bench/program/bars.h>

#include <fmt/format.h>

#include <algorithm>

#include <noisysgd/core/config.h>
#include <noisysgd/core/json.h>

namespace noisysgd::bench {

namespace {

std::optional<std::array<int64_t, 2>> read_range(const ConfigReader& json, const char* key) {
  if (!json.has(key)) return {};
  return json.integer_pair(key, {.at_least = 1});
}

Bar read_bar(const ConfigReader& json) {
  Bar bar;
  bar.goal = json.string("goal");
  bar.section = json.choice("section", {"layers", "steps", "curvature", "bandwidth"});
  if (json.any("section", nullptr) != bar.section) {
    json.give_up();
    return bar;
  }
  if (bar.section != "bandwidth") bar.network = json.optional_string("network");
  const bool of_variants = bar.section == "steps" || bar.section == "curvature";
  bar.name = json.string(of_variants ? "variant" : "operation");
  if (of_variants) bar.memory = json.choice<bool>("quantity", {{"time", false}, {"memory", true}}, false);
  if (bar.section == "layers") {
    bar.over_cudnn = json.choice<bool>("over", {{"plain", false}, {"cudnn", true}}, false);
    bar.channels = read_range(json, "channels");
    bar.positions = read_range(json, "positions");
  }
  const std::optional<double> at_most = json.optional_number("at_most"), at_least = json.optional_number("at_least");
  if (at_most.has_value() == at_least.has_value()) json.error("at_most", "give either at_most or at_least");
  bar.limit = {at_most.has_value(), at_most.value_or(at_least.value_or(0))};
  return bar;
}

bool in_range(const std::optional<std::array<int64_t, 2>>& range, int64_t value) {
  return !range || (value >= range->front() && value <= range->back());
}

std::vector<double> layer_ratios(const Bar& bar, const Json& network) {
  const char* const ratio = bar.over_cudnn ? "ratio_to_cudnn" : "ratio";
  std::vector<double> values;
  for (const Json& layer : network.at("layers")) {
    const auto output = layer.at("output").get<std::vector<int64_t>>();
    const Json& operations = layer.at("operations");
    const auto operation = operations.find(bar.name);
    if (output.size() != 3 || operation == operations.end() || !operation->contains(ratio)) continue;
    if (in_range(bar.channels, output[2]) && in_range(bar.positions, output[0] * output[1]))
      values.push_back(operation->at(ratio));
  }
  return values;
}

std::vector<double> variant_ratios(const Bar& bar, const Json& network) {
  std::vector<double> values;
  for (const Json& variant : network.at("variants"))
    if (variant.at("name") == bar.name) values.push_back(variant.at(bar.memory ? "memory_ratio" : "time_ratio"));
  return values;
}

std::vector<double> bandwidth_shares(const Bar& bar, const Json& measured) {
  const Json& operations = measured.at("operations");
  const auto operation = operations.find(bar.name);
  if (operation == operations.end()) return {};
  return {operation->at("share_of_copy").get<double>()};
}

std::vector<double> values_of(const Bar& bar, const Json& report) {
  std::vector<double> values;
  for (const Json& measured : report.value(bar.section, Json::array())) {
    if (bar.network && measured.value("network", "") != *bar.network) continue;
    const auto found = bar.section == "layers"      ? layer_ratios(bar, measured)
                       : bar.section == "bandwidth" ? bandwidth_shares(bar, measured)
                                                    : variant_ratios(bar, measured);
    values.insert(values.end(), found.begin(), found.end());
  }
  return values;
}

std::string subject(const Bar& bar) {
  std::string text = bar.section;
  if (bar.network) text += ", " + *bar.network;
  text += ", " + bar.name;
  if (bar.memory) text += ", memory";
  if (bar.over_cudnn) text += " over cuDNN's weight gradient";
  for (const auto& [key, range] : {std::pair("channels", bar.channels), std::pair("positions", bar.positions)})
    if (range) text += fmt::format(", {} [{},{}]", key, range->front(), range->back());
  return text;
}

}  // namespace

std::vector<Bar> read_bars(const std::string& path) {
  std::vector<std::string> problems;
  const Json document = parse_config_file(path, problems);
  return with_earlier_problems(path, problems, [&] {
    const Config config(document, path);
    std::vector<Bar> bars;
    for (const ConfigReader& json : config.root().objects("bars", {.at_least = 1})) bars.push_back(read_bar(json));
    config.finish();
    for (size_t i = 0; i < bars.size(); ++i) bars[i].json = document.at("bars").at(i);
    return bars;
  });
}

Verdicts check_bars(const Json& report, const std::vector<Bar>& bars, const std::string& path, bool emulated) {
  Verdicts verdicts("goal", "Value: the worst of the measured values that the bar limits. " + path);
  for (const Bar& bar : bars) {
    const std::vector<double> values = values_of(bar, report);
    std::optional<double> worst;
    if (!values.empty()) worst = bar.limit.upper ? std::ranges::max(values) : std::ranges::min(values);
    verdicts.add(
        {bar.goal, subject(bar), worst, worst ? fmt::format("{:.3f}", *worst) : "", bar.limit, !emulated, bar.json});
  }
  return verdicts;
}

}  // namespace noisysgd::bench
