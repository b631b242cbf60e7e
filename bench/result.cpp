#include <noisysgd/bench/result.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include <noisysgd/core/config.h>

namespace noisysgd::bench {

namespace {

std::optional<double> ratio_to(const Earlier* earlier, const Result& result) {
  if (!earlier || !result.times || !earlier->seconds.contains(result.of->name)) return {};
  return result.times->median() / earlier->seconds.at(result.of->name);
}

Share share_of(const Result& result, const Roofs& roofs) {
  return share_of_roof(result.of->bytes_moved(), result.of->flops, result.times->median(), roofs);
}

std::string rate(double per_second) { return per_second == 0 ? "" : fmt::format("{:.1f}", per_second * 1e-9); }

Json json_of(const Result& result, const Conditions& conditions) {
  const Case& of = *result.of;
  const double seconds = result.times->median(), bytes = of.bytes_moved();
  const Share share = share_of(result, conditions.roofs);
  Json arrays = Json::array();
  for (const Array& array : of.arrays) arrays.push_back(array.shape.extents());
  Json json{{"name", of.name},
            {"arrays", arrays},
            {"bytes", bytes},
            {"flops", of.flops},
            {"seconds", result.times->json()},
            {"bytes_per_second", bytes / seconds},
            {"flops_per_second", of.flops / seconds},
            {"roof", share.roof},
            {"share_of_roof", share.value},
            {"error", result.error}};
  if (const auto ratio = ratio_to(conditions.earlier, result)) json["ratio_to_earlier"] = *ratio;
  return json;
}

std::string note_of(const std::vector<Result>& results, const Conditions& conditions, const Json& machine) {
  const Roofs& roofs = conditions.roofs;
  std::string note = fmt::format(
      "Medians of {} rounds. Share: of the roof that bounds the case, copying at\n{:.1f} GB/s or {} at {:.1f} GFLOP/s, "
      "measured in this process.",
      conditions.settings.at("rounds").dump(), roofs.bytes_per_second * 1e-9,
      roofs.arithmetic == "FMA" ? "FMA" : "the fp32 product of matrices", roofs.flops_per_second * 1e-9);
  const Earlier* earlier = conditions.earlier;
  if (!earlier) return note;
  note += fmt::format("\nRatio: time over that in {}.", earlier->path);
  for (const std::string& difference : earlier->differences(machine, conditions.settings))
    note += fmt::format("\nNot comparable: {}.", difference);
  for (const Result& result : results)
    if (!earlier->seconds.contains(result.of->name)) note += fmt::format("\nNot in that file: {}.", result.of->name);
  return note;
}

}  // namespace

Share share_of_roof(double bytes, double flops, double seconds, const Roofs& roofs) {
  const double moving = bytes / roofs.bytes_per_second, computing = flops / roofs.flops_per_second;
  return {std::max(moving, computing) / seconds, moving >= computing ? "copy" : roofs.arithmetic};
}

Earlier Earlier::read(const std::string& path) {
  const Json report = parse_config_file(path);
  const auto expect = [&](bool found, const char* key) {
    NSGD_CHECK(found, "{}: {} is missing; expected what --json of this program wrote", path, key);
  };
  expect(report.is_object() && report.contains("machine") && report["machine"].is_object(), "$.machine");
  expect(report.contains("cases") && report["cases"].is_array() && report["cases"].size() == 1, "$.cases[0]");
  const Json& section = report["cases"][0];
  expect(section.is_object() && section.contains("cases") && section["cases"].is_array(), "$.cases[0].cases");
  expect(section.contains("settings") && section["settings"].is_object(), "$.cases[0].settings");
  Earlier earlier{path, {}, report["machine"], section["settings"]};
  for (size_t i = 0; i < section["cases"].size(); ++i) {
    const Json& one = section["cases"][i];
    const std::string place = fmt::format("$.cases[0].cases[{}]", i);
    expect(one.is_object() && one.contains("name") && one["name"].is_string(), (place + ".name").c_str());
    const bool timed = one.contains("seconds") && one["seconds"].is_object() && one["seconds"].contains("median") &&
                       one["seconds"]["median"].is_number() && one["seconds"]["median"] > 0;
    expect(timed, (place + ".seconds.median").c_str());
    earlier.seconds[one["name"]] = one["seconds"]["median"];
  }
  return earlier;
}

std::vector<std::string> Earlier::differences(const Json& machine_here, const Json& settings_here) const {
  std::vector<std::string> differences;
  const auto compare = [&](const Json& there, const Json& here, const char* key) {
    const auto text = [key](const Json& object) {
      const Json value = object.value(key, Json());
      return value.is_null() ? "none" : value.is_string() ? value.get<std::string>() : value.dump();
    };
    if (text(there) != text(here))
      differences.push_back(fmt::format("{}: {} there, {} here", key, text(there), text(here)));
  };
  for (const char* key : {"processor", "gpu", "emulated"}) compare(machine, machine_here, key);
  for (const char* key : {"device", "precision", "threads"}) compare(settings, settings_here, key);
  return differences;
}

Section section_of(const std::vector<Result>& results, const Conditions& conditions, const Json& machine) {
  const Roofs& roofs = conditions.roofs;
  std::vector<std::string> columns{"case", "ms", "p5 – p95", "GB/s", "GFLOP/s", "share", "roof"};
  if (conditions.earlier) columns.push_back("ratio");
  Section section{.title = "Cases",
                  .note = note_of(results, conditions, machine),
                  .table = TextTable(columns),
                  .key = "cases",
                  .json = {{"settings", conditions.settings},
                           {"copy_bytes_per_second", roofs.bytes_per_second},
                           {"arithmetic", roofs.arithmetic},
                           {"flops_per_second", roofs.flops_per_second},
                           {"cases", Json::array()}}};
  for (const Result& result : results) {
    const double seconds = result.times->median();
    const Share share = share_of(result, roofs);
    std::vector<std::string> row{result.of->name,
                                 milliseconds(seconds),
                                 result.times->spread(),
                                 rate(result.of->bytes_moved() / seconds),
                                 rate(result.of->flops / seconds),
                                 fmt::format("{:.2f}", share.value),
                                 share.roof};
    if (conditions.earlier) {
      const auto ratio = ratio_to(conditions.earlier, result);
      row.push_back(ratio ? fmt::format("{:.3f}", *ratio) : "");
    }
    section.table.add_row(row);
    section.json["cases"].push_back(json_of(result, conditions));
  }
  return section;
}

Verdicts judge(const std::vector<Result>& results, const Conditions& conditions, bool emulated) {
  Verdicts verdicts("case",
                    "Error: the largest of an element against the reference in fp64, relative to the\n"
                    "larger of its size and the array's root mean square.");
  for (const Result& result : results) {
    const Case& of = *result.of;
    const auto add = [&](const char* quantity, std::optional<double> value, const std::string& text, Limit limit,
                         bool counts) {
      verdicts.add({of.name,
                    quantity,
                    value,
                    text,
                    limit,
                    counts,
                    {{"case", of.name}, {"of", quantity}, {limit.upper ? "at_most" : "at_least", limit.value}}});
    };
    add("error", result.error, fmt::format("{:.1e}", result.error), {true, of.error}, true);
    const auto add_time = [&](const char* quantity, std::optional<double> value, Limit limit) {
      add(quantity, value, value ? fmt::format("{:.3f}", *value) : "", limit, !emulated);
    };
    if (of.share)
      add_time("share of roof",
               result.times ? std::optional(share_of(result, conditions.roofs).value) : std::optional<double>(),
               {false, *of.share});
    if (of.ratio) add_time("ratio", ratio_to(conditions.earlier, result), {true, *of.ratio});
  }
  return verdicts;
}

}  // namespace noisysgd::bench
