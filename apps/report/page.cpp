#include <noisysgd/apps/report/page.h>

#include <fmt/ranges.h>

#include <noisysgd/apps/report/sections.h>
#include <noisysgd/apps/version.h>

namespace noisysgd {
namespace {

using html::Html;

std::string counted(size_t count, const char* thing, const char* things) {
  return fmt::format("{} {}", count, count == 1 ? thing : things);
}

std::string contents(const ReportSources& sources) {
  size_t runs = 0, finished = 0;
  for (const RunGroup& group : sources.groups)
    for (const LoggedRun& run : group.runs) {
      ++runs;
      finished += run.summary.has_value();
    }
  std::vector<std::string> parts;
  if (runs > 0)
    parts.push_back(fmt::format("{} of {}, {} finished", counted(runs, "run", "runs"),
                                counted(sources.groups.size(), "regime", "regimes"), finished));
  if (!sources.analyses.empty()) parts.push_back(counted(sources.analyses.size(), "analysis", "analyses"));
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string title_of(const ReportSources& sources) {
  std::vector<std::string> names;
  for (const RunGroup& group : sources.groups)
    if (names.empty() || names.back() != suite_name(group.suite)) names.push_back(suite_name(group.suite));
  if (sources.groups.empty())
    for (const AnalysisRecord& analysis : sources.analyses)
      names.push_back(std::filesystem::weakly_canonical(analysis.folder).filename().string());
  if (names.size() > 3) return fmt::format("Report of {} experiments", names.size());
  return fmt::format("Report: {}", fmt::join(names, ", "));
}

Html problem_list(const std::vector<std::string>& problems) {
  if (problems.empty()) return {};
  Html items;
  for (const std::string& problem : problems) items += html::element("li", problem);
  return html::element("div", html::element("strong", "Not shown, or not completely:") + html::element("ul", items),
                       {{"class", "problems"}});
}

}  // namespace

ReportPage report_page(const ReportSources& sources, const std::string& made) {
  std::vector<std::string> problems = sources.problems;
  const Html sections = configuration_section(sources.groups) + curves_section(sources.groups, problems) +
                        results_section(sources.groups) + analyses_section(sources.analyses, problems) +
                        runs_section(sources.groups, sources.missing);
  const std::string title = title_of(sources);
  const Html body =
      html::element("h1", title) +
      html::element("p", fmt::format("{}. Made {} by noisysgd-report {}.", contents(sources), made, version()),
                    {{"class", "note"}}) +
      problem_list(problems) + sections;
  return {html::page(title, body), problems};
}

}  // namespace noisysgd
