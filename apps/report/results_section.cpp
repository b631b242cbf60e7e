#include <fmt/format.h>

#include <algorithm>
#include <array>

#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/report/results.h>
#include <noisysgd/apps/report/sections.h>

namespace noisysgd {
namespace {

using html::Html;

constexpr size_t most_groups_in_pairs = 8;  // more are compared with the first only

size_t finished(const RunGroup& group) {
  return static_cast<size_t>(std::count_if(group.runs.begin(), group.runs.end(),
                                           [](const LoggedRun& run) { return run.summary.has_value(); }));
}

std::string runs_text(const RunGroup& group) {
  std::string text = fmt::format("{} of {}", finished(group), group.runs.size());
  const auto diverged = std::count_if(group.runs.begin(), group.runs.end(),
                                      [](const LoggedRun& run) { return run.divergence.has_value(); });
  if (diverged > 0) text += fmt::format("; {} diverged", diverged);
  return text;
}

// The name of the evaluated set if it is the same for all groups; the tables show their fields under it.
std::string evaluated_name(const std::vector<RunGroup>& groups) {
  const std::string& first = groups[0].runs[0].evaluated_set;
  const bool one = std::all_of(groups.begin(), groups.end(),
                               [&](const RunGroup& group) { return group.runs[0].evaluated_set == first; });
  return one ? first : "test or holdout";
}

Html final_table(const std::vector<RunGroup>& groups) {
  const std::string evaluated = evaluated_name(groups);
  html::Table table({"regime", "finished", evaluated + " accuracy %", "best %", evaluated + " loss", "train loss",
                     "train accuracy %", "time"});
  for (const RunGroup& group : groups) {
    const std::string set = group.runs[0].evaluated_set;
    const Spread seconds = result_of(group, "seconds");
    table.add_row(std::vector<std::string>{
        group.label, runs_text(group), result_of(group, set + "_accuracy").text(100, 2),
        result_of(group, "best_" + set + "_accuracy").text(100, 2), result_of(group, set + "_loss").loss_text(),
        result_of(group, "train_loss").loss_text(), result_of(group, "train_accuracy").text(100, 2),
        seconds.count > 0 ? format_duration(seconds.mean) : ""});
  }
  return table.html();
}

struct Compared {
  std::string title, field;  // field of summary.json
  double factor = 1;
  int digits = 4;
};

// Differences between results on different images say nothing.
bool same_data(const RunGroup& a, const RunGroup& b) {
  const auto data = [](const RunGroup& group) {
    const Json& config = group.runs[0].config;
    return config.is_object() ? config.value("data", Json()) : Json();
  };
  return data(a) == data(b);
}

Html differences(const std::vector<RunGroup>& groups, const Compared& compared) {
  html::Table table({"difference", "the first is", "mean", "95 % interval", "seeds"});
  const size_t firsts = groups.size() <= most_groups_in_pairs ? groups.size() : 1;
  for (size_t i = 0; i < firsts; ++i)
    for (size_t j = i + 1; j < groups.size(); ++j) {
      if (!same_data(groups[i], groups[j])) continue;
      const PairedDifference pair =
          paired_difference(results_of(groups[i], compared.field), results_of(groups[j], compared.field));
      if (pair.difference.count == 0) continue;
      table.add_row(std::vector<std::string>{fmt::format("{} − {}", groups[i].label, groups[j].label), pair.verdict(),
                                             pair.mean_text(compared.factor, compared.digits),
                                             pair.interval_text(compared.factor, compared.digits),
                                             fmt::format("{}", pair.difference.count)});
    }
  return table.empty() ? Html{} : table.html();
}

}  // namespace

Html results_section(const std::vector<RunGroup>& groups) {
  if (groups.empty()) return {};
  Html section = html::element("h2", "Results") + final_table(groups);
  section +=
      html::element("p", "Mean ± standard deviation over the finished runs after training.", {{"class", "note"}});
  if (groups.size() < 2) return section;
  const std::string set = groups[0].runs[0].evaluated_set;
  const std::array<Compared, 4> quantities{
      {{"Difference in " + set + " accuracy, percentage points", set + "_accuracy", 100, 2},
       {"Difference in " + set + " loss", set + "_loss"},
       {"Difference in training loss", "train_loss"},
       {"Difference in training accuracy, percentage points", "train_accuracy", 100, 2}}};
  Html tables;
  for (const Compared& compared : quantities)
    if (const Html table = differences(groups, compared); !table.empty())
      tables += html::details(compared.title, table, tables.empty());
  section += html::element("h3", "Differences over seeds");
  if (tables.empty())
    return section + html::element("p", "No two regimes have finished a common seed on the same data.", {{"class", "note"}});
  std::string explanation =
      "Differences of runs with the same seed and data. The interval is that of Student's t distribution around their mean. "
      "Where it contains 0, the seeds cannot tell which regime is better. Each interval misses with a probability of "
      "5 %, so among many of them some do.";
  if (groups.size() > most_groups_in_pairs) explanation += " Only differences from the first regime are shown.";
  return section + html::element("p", explanation, {{"class", "note"}}) + tables;
}

}  // namespace noisysgd
