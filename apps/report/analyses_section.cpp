#include <fmt/format.h>

#include <noisysgd/apps/progress.h>
#include <noisysgd/apps/report/sections.h>
#include <noisysgd/core/file.h>

namespace noisysgd {
namespace {

using html::Html;

std::string text_in(const Json& json, const std::string& key) {
  return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

Html numbers_table(const Json& numbers) {
  html::Table table({"result", "value"});
  for (const auto& [name, value] : numbers.items())
    table.add_row(
        std::vector<std::string>{name, value.is_number() ? fmt::format("{:.4g}", value.get<double>()) : "not finite"});
  return table.empty() ? Html{} : table.html();
}

// Throws Error if the picture cannot be read.
Html picture(const std::filesystem::path& folder, const Json& name) {
  NSGD_CHECK(name.is_string() && name.get<std::string>().find('/') == std::string::npos,
             "{}: analysis.json names the figure {}, expected the name of a file in the folder", folder.string(),
             name.dump(-1, ' ', false, Json::error_handler_t::replace));
  const std::filesystem::path path = folder / (name.get<std::string>() + ".svg");
  const std::optional<std::string> svg = read_plain_file(path);
  NSGD_CHECK(svg, "{}: is missing; the analysis may have run without gnuplot", path.string());
  return html::element(
      "figure", html::element("div", html::svg_picture(*svg, name.get<std::string>()), {{"class", "scroll picture"}}));
}

}  // namespace

Html analyses_section(const std::vector<AnalysisRecord>& analyses, std::vector<std::string>& problems) {
  if (analyses.empty()) return {};
  Html section = html::element("h2", "Analyses");
  for (const AnalysisRecord& analysis : analyses) {
    const Json configuration = analysis.record.value("configuration", Json::object());
    const Json chosen = configuration.is_object() ? configuration.value("analysis", Json()) : Json();
    const std::string name = text_in(configuration, "name");
    section += html::element(
        "h3", name.empty() ? std::filesystem::weakly_canonical(analysis.folder).filename().string() : name);
    const Json seconds = analysis.record.value("seconds", Json());
    std::string about = fmt::format("Analysis {} in {}", text_in(chosen, "type"), analysis.folder.string());
    if (const std::string version = text_in(analysis.record, "version"); !version.empty())
      about += ", version " + version;
    if (seconds.is_number()) about += fmt::format(", {:.1f} s", seconds.get<double>());
    if (analysis.record.value("finished", Json()) == false) about += "; not finished";
    for (const Json& problem : analysis.record.value("problems", Json::array()))
      if (problem.is_string()) problems.push_back(problem);
    section += html::element("p", about, {{"class", "note"}});
    for (const Json& figure : analysis.record.value("figures", Json::array())) {
      try {
        section += picture(analysis.folder, figure);
      } catch (const Error& error) {
        problems.push_back(error.what());
      }
    }
    section += html::details("Numbers", numbers_table(analysis.record.value("numbers", Json::object())));
    section += html::details("Configuration",
                             html::element("pre", configuration.dump(2, ' ', false, Json::error_handler_t::replace)));
  }
  return section;
}

}  // namespace noisysgd
