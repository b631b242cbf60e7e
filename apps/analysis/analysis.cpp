#include <noisysgd/apps/analysis/analysis.h>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <noisysgd/apps/analysis/convergence.h>
#include <noisysgd/apps/analysis/frobenius.h>
#include <noisysgd/apps/analysis/gradient_variance.h>
#include <noisysgd/apps/analysis/hessian.h>
#include <noisysgd/apps/analysis/one_step_2d.h>
#include <noisysgd/apps/analysis/quadratic.h>
#include <noisysgd/apps/analysis/stability.h>
#include <noisysgd/apps/analysis/theorem_bound.h>
#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/names.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/apps/schema.h>
#include <noisysgd/apps/version.h>
#include <noisysgd/core/config_schema.h>
#include <noisysgd/core/file.h>

namespace noisysgd {
namespace {

// The folder must not hold what something else has made. A hidden file, say of the desktop, does not count.
void check_unused(const std::filesystem::path& folder) {
  NSGD_CHECK(std::filesystem::is_directory(folder), "{}: is no folder; expected one for the results", folder.string());
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    NSGD_CHECK(entry.path().filename().string().starts_with(".") || entry.path().filename() == analysed_runs_folder,
               "{}: holds {}, but no analysis; expected an empty folder, or one that noisysgd-analyze has made",
               folder.string(), entry.path().filename().string());
}

// Makes the folder ready for an analysis of this type.
void claim_folder(const std::filesystem::path& folder, const std::string& type) {
  if (!std::filesystem::exists(folder)) return make_folder(folder);
  const std::filesystem::path path = folder / analysis_file;
  const std::optional<std::string> text = read_plain_file(path.string());
  if (!text) return check_unused(folder);
  const Json record = parse_json(*text, path.string());
  const auto found = record.value("/configuration/analysis/type"_json_pointer, "");
  const Json figures = record.value("figures", Json::array());
  NSGD_CHECK(found == type || figures.empty(), "{}: holds an analysis of type \"{}\"; give another --output for \"{}\"", folder.string(),
             found, type);
  for (const Json& figure : figures)
    for (const char* suffix : {".csv", ".json", ".svg", ".png"})
      if (figure.is_string() && figure.get<std::string>().find('/') == std::string::npos)
        std::filesystem::remove(folder / (figure.get<std::string>() + suffix));
}

void write_record(const std::filesystem::path& folder, const ConfiguredAnalysis& configured,
                  const AnalysisOutput& output, double seconds, bool finished) {
  Json record{{"configuration", configured.effective},
              {"version", version()},
              {"commit", commit()},
              {"seconds", seconds},
              {"finished", finished},
              {"figures", output.figures()},
              {"numbers", output.numbers()}};
  if (!output.problems().empty()) record["problems"] = output.problems();
  write_file_atomically(folder / analysis_file, record.dump(1) + "\n");
}

// What a document has beside the keys of an analysis.
struct Beside {
  const Json& experiment;
  const std::string& origin;
  const Extensions& extensions;
  const std::vector<std::string>& assignments;
};

// knows_type: false if "type" is none of the registry. It is reported, and nothing depends on it.
ConfiguredAnalysis read_analysis_keys(const ConfigReader& root, const AnalysisRegistry& analyses, bool knows_type,
                                      const Beside& beside) {
  ConfiguredAnalysis result;
  root.optional_string(schema_key);
  result.name = root.string("name", "analysis");
  if (const std::string problem = folder_name_problem(result.name); !problem.empty()) root.error("name", problem);
  const ConfigReader json = root.object("analysis");
  result.type = analyses.read_type(json);
  const AnalysisType& type = analyses.at(result.type);
  const IntegerRule rule{.default_value = 1, .at_least = 0, .at_most = largest_seed};
  const auto seed = static_cast<uint64_t>(knows_type && type.has_experiment ? 1 : root.integer("seed", rule));
  if (!knows_type)
    json.give_up();
  else
    result.analysis = type.build({json, seed, beside.experiment, beside.origin, beside.extensions, beside.assignments});
  return result;
}

// The keys of the types with an experiment, or of those without one.
Json schema_of_types(const AnalysisRegistry& analyses, bool has_experiment, const Extensions& extensions) {
  AnalysisRegistry some;
  for (const std::string& type : analyses.types())
    if (const AnalysisType& entry = analyses.at(type); entry.has_experiment == has_experiment) some.add(type, entry);
  const Json empty = Json::object();
  return config_schema([&](const ConfigReader& root) {
    read_analysis_keys(root, some, true, {empty, "", extensions, {}});
  });
}

struct Arguments {
  std::string config, output;
  std::vector<std::string> assignments;
  std::string seed;
  bool quiet = false;
};

int analyze(Arguments arguments, const AnalysisRegistry& analyses, const Extensions& extensions) {
  if (!arguments.seed.empty()) arguments.assignments.push_back("seed=" + arguments.seed);
  std::vector<std::string> problems;
  const Json document = parse_config_file(arguments.config, problems);
  ConfiguredAnalysis configured = with_earlier_problems(arguments.config, problems, [&] {
    return read_analysis(document, arguments.config, analyses, extensions, arguments.assignments);
  });
  const std::filesystem::path folder = arguments.output.empty() ? std::filesystem::path("runs") / configured.name
                                                                : std::filesystem::path(arguments.output);
  const Progress::Mode progress = Progress::choose(arguments.quiet);
  run_analysis(configured, folder, progress);
  return 0;
}

}  // namespace

void AnalysisOutput::figure(const std::string& name, const Figure& figure) {
  figures_.push_back(name);
  bool drawn = true;
  try {
    drawn = write_figure(figure, folder_, name);
  } catch (const DrawingError& error) {
    problem(fmt::format("{}: has no picture: {}", (folder_ / name).string(), error.what()));
  }
  if (!drawn && !gnuplot_reported_missing_) line(gnuplot_missing);
  gnuplot_reported_missing_ = gnuplot_reported_missing_ || !drawn;
}

void AnalysisOutput::number(const std::string& name, double value) {
  numbers_[name] = std::isfinite(value) ? Json(value) : Json(nullptr);
  line(fmt::format("{}: {:.4g}", name, value));
}

void AnalysisOutput::line(const std::string& text) const {
  if (progress_ == Progress::Mode::quiet) return;
  print_out("{}\n", text);
  flush_out();  // a file shows how far a long analysis has come
}

AnalysisRegistry AnalysisRegistry::builtin() {
  AnalysisRegistry registry;
  registry.add("convergence", Convergence::read, true);
  registry.add("frobenius", Frobenius::read, true);
  registry.add("gradient_variance", GradientVariance::read, true);
  registry.add("hessian", HessianSpectrum::read, true);
  registry.add("noise_scale", NoiseScaleCourse::read, true);
  registry.add("one_step_2d", OneStep2d::read);
  registry.add("quadratic", Quadratic::read);
  registry.add("stability", Stability::read);
  registry.add("theorem_bound", TheoremBound::read);
  return registry;
}

ConfiguredAnalysis read_analysis(Json document, const std::string& origin, const AnalysisRegistry& analyses,
                                 const Extensions& extensions, const std::vector<std::string>& assignments) {
  for (const std::string& assignment : assignments) {
    apply_override(document, assignment);
    keep_one_of_seed_and_seeds(document, assignment);
  }
  // One reader for the keys of the analysis; those of an experiment are left to read_experiment.
  Json own = document, experiment = document;
  const Json* const chosen = document.is_object() && document.contains("analysis") ? &document["analysis"] : nullptr;
  if (experiment.is_object())
    for (const char* key : {"analysis", schema_key}) experiment.erase(key);
  const std::string type = chosen && chosen->is_object() && (*chosen).value("type", Json()).is_string()
                               ? (*chosen)["type"].get<std::string>()
                               : "";
  const std::vector<std::string> types = analyses.types();
  const bool known = std::find(types.begin(), types.end(), type) != types.end();
  const bool has_experiment = known && analyses.at(type).has_experiment;
  if (has_experiment) {
    own = Json{{"analysis", *chosen}};
    for (const char* key : {"name", schema_key})
      if (document.contains(key)) own[key] = document[key];
  }
  Config config(own, origin);
  ConfiguredAnalysis result =
      read_analysis_keys(config.root(), analyses, known, {experiment, origin, extensions, assignments});
  result.effective = config.finish();
  result.effective.erase(schema_key);
  if (has_experiment) result.effective.update(experiment);
  return result;
}

Json analysis_schema(const AnalysisRegistry& analyses, const Extensions& extensions) {
  const Json theory = schema_of_types(analyses, false, extensions);
  const Json own = schema_of_types(analyses, true, extensions);
  Json schema = experiment_schema(extensions, Tuned::no);
  Json network = schema;
  network["properties"].update(own.at("properties"));
  std::vector<std::string> types;
  for (const std::string& type : analyses.types())
    if (analyses.at(type).has_experiment) types.push_back(type);
  for (const char* keyword : {"$schema", "title", "definitions"}) network.erase(keyword);
  for (const char* keyword : {"properties", "patternProperties", "additionalProperties"}) schema.erase(keyword);
  const Json type{{"properties", {{"type", {{"enum", types}}}}}, {"required", {"type"}}};
  schema["properties"] = {{"analysis", {{"properties", {{"type", {{"enum", analyses.types()}}}}}}}};
  schema["required"] = {"analysis"};
  schema["if"] = {{"properties", {{"analysis", type}}}};
  schema["then"] = std::move(network);
  schema["else"] = theory;
  return schema;
}

void run_analysis(ConfiguredAnalysis& configured, const std::filesystem::path& folder, Progress::Mode progress) {
  claim_folder(folder, configured.type);
  AnalysisOutput output(folder, progress);
  output.line(fmt::format("{}: {} into {}", configured.name, configured.type, folder.string()));
  const auto begin = std::chrono::steady_clock::now();
  const auto record = [&](bool finished) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    write_record(folder, configured, output, seconds, finished);
    return seconds;
  };
  record(false);  // the folder is this analysis' from now on, whatever happens
  try {
    configured.analysis->run(output);
  } catch (...) {
    record(false);
    throw;
  }
  output.line(fmt::format("{} after {:.1f} s", folder.string(), record(true)));
  NSGD_CHECK(output.problems().empty(), "{}", fmt::format("{}", fmt::join(output.problems(), "\n")));
}

int analyze_main(int argc, char** argv, const AnalysisRegistry& analyses, const Extensions& extensions) {
  CLI::App app{"Measures noise and its theory, and draws the figures of the paper", "noisysgd-analyze"};
  Arguments arguments;
  add_path(app, "CONFIG", arguments.config, "Configuration (JSON)")->required();
  add_schema_flag(app, [&] { return analysis_schema(analyses, extensions); });
  add_path(app, "--output", arguments.output, "Folder of the figures and numbers; runs/NAME if not given");
  add_repeated(app, "--set", arguments.assignments, "path=value: overrides one value of the configuration");
  app.add_option("--seed", arguments.seed, "Seed, in place of the configuration's")
      ->transform(whole_number(0, largest_seed));
  app.add_flag("--quiet", arguments.quiet, "Print nothing but errors");
  app.footer(fmt::format("Types of analyses (docs/analysis.md):\n  {}", fmt::join(analyses.types(), ", ")));
  return run_program(app, argc, argv, [&] { return analyze(arguments, analyses, extensions); });
}

}  // namespace noisysgd
