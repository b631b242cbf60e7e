#include <noisysgd/apps/bench/bars.h>

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include <noisysgd/core/file.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd::bench {

namespace {

bool in_range(const Json& bar, const char* key, int64_t value) {
  if (!bar.contains(key)) return true;
  return value >= bar.at(key).at(0).get<int64_t>() && value <= bar.at(key).at(1).get<int64_t>();
}

std::vector<double> layer_ratios(const Json& bar, const Json& network) {
  const std::string over = bar.value("over", "plain");
  NSGD_CHECK(over == "plain" || over == "cudnn", "over \"{}\": expected plain or cudnn", over);
  const char* const ratio = over == "cudnn" ? "ratio_to_cudnn" : "ratio";
  std::vector<double> values;
  for (const Json& layer : network.at("layers")) {
    const auto output = layer.at("output").get<std::vector<int64_t>>();
    const Json& operations = layer.at("operations");
    const auto operation = operations.find(bar.at("operation").get<std::string>());
    if (output.size() != 3 || operation == operations.end() || !operation->contains(ratio)) continue;
    if (in_range(bar, "channels", output[2]) && in_range(bar, "positions", output[0] * output[1]))
      values.push_back(operation->at(ratio));
  }
  return values;
}

std::vector<double> step_ratios(const Json& bar, const Json& network) {
  std::vector<double> values;
  for (const Json& variant : network.at("variants"))
    if (variant.at("name") == bar.at("variant")) values.push_back(variant.at("time_ratio"));
  return values;
}

std::vector<double> bandwidth_shares(const Json& bar, const Json& measured) {
  const Json& operations = measured.at("operations");
  const auto operation = operations.find(bar.at("operation").get<std::string>());
  if (operation == operations.end()) return {};
  return {operation->at("share_of_copy").get<double>()};
}

std::vector<double> values_of(const Json& bar, const Json& report) {
  const std::string section = bar.at("section");
  NSGD_CHECK(section == "layers" || section == "steps" || section == "bandwidth",
             "section \"{}\": expected layers, steps or bandwidth", section);
  std::vector<double> values;
  for (const Json& measured : report.value(section, Json::array())) {
    if (bar.contains("network") && measured.value("network", "") != bar.at("network")) continue;
    const auto found = section == "layers"  ? layer_ratios(bar, measured)
                       : section == "steps" ? step_ratios(bar, measured)
                                            : bandwidth_shares(bar, measured);
    values.insert(values.end(), found.begin(), found.end());
  }
  return values;
}

std::string subject(const Json& bar) {
  std::string text = bar.at("section");
  for (const char* key : {"network", "variant", "operation"})
    if (bar.contains(key)) text += ", " + bar.at(key).get<std::string>();
  if (bar.value("over", "") == "cudnn") text += " over cuDNN's weight gradient";
  for (const char* key : {"channels", "positions"})
    if (bar.contains(key)) text += fmt::format(", {} {}", key, bar.at(key).dump());
  return text;
}

}  // namespace

Verdict check_bars(const Json& report, const std::string& path, bool emulated) {
  Verdict verdict{{.title = "Bars",
                   .note = "The worst of the measured values that a bar is about. " + path,
                   .table = TextTable({"goal", "of", "value", "bar", "verdict"}),
                   .key = "bars",
                   .json = Json::array()}};
  const Json document = parse_json(read_file(path), path);
  size_t index = 0;
  for (const Json& bar : document.at("bars")) try {
      const bool upper = bar.contains("at_most");
      const double limit = bar.at(upper ? "at_most" : "at_least");
      const std::vector<double> values = values_of(bar, report);
      std::optional<double> worst;
      if (!values.empty()) worst = upper ? std::ranges::max(values) : std::ranges::min(values);
      const bool kept = worst && (upper ? *worst <= limit : *worst >= limit);
      const std::string word = !worst ? "not measured" : emulated ? "emulated: not judged" : kept ? "kept" : "BROKEN";
      if (word == "BROKEN") ++verdict.broken;
      verdict.section.table.add_row({bar.at("goal"), subject(bar), worst ? fmt::format("{:.3f}", *worst) : "",
                                     fmt::format("{} {}", upper ? "≤" : "≥", limit), word});
      verdict.section.json.push_back({{"bar", bar}, {"value", worst ? Json(*worst) : Json()}, {"verdict", word}});
      ++index;
    } catch (const std::exception& error) {
      throw Error(fmt::format("{}: bars[{}]: {}", path, index, error.what()));
    }
  return verdict;
}

}  // namespace noisysgd::bench
