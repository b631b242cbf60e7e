// Analyses: measurements of noise and of its theory that end in figures and numbers, chosen by "analysis.type" of a
// configuration. A program adds types of its own before it reads one:
//
//   analyses.add("my_analysis", MyAnalysis::read);        // {"analysis": {"type": "my_analysis", …}, "seed": 1}
//   analyses.add("my_analysis", MyAnalysis::read, true);  // further keys of the document are those of an experiment
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <noisysgd/apps/analysis/figure.h>
#include <noisysgd/apps/experiment.h>
#include <noisysgd/apps/progress.h>
#include <noisysgd/core/json.h>
#include <noisysgd/core/registry.h>

namespace noisysgd {

// Receives what an analysis finds, in the order in which it is shown.
class AnalysisOutput {
 public:
  // folder: must exist. In quiet mode nothing is printed.
  AnalysisOutput(std::filesystem::path folder, Progress::Mode progress)
      : folder_(std::move(folder)), progress_(progress) {}

  const std::filesystem::path& folder() const { return folder_; }  // for what the analysis trains or reads
  Progress::Mode progress() const { return progress_; }

  // Writes NAME.csv, NAME.json, NAME.svg and NAME.png. Without gnuplot the numbers alone, which one line says. A picture
  // that gnuplot cannot draw is a problem.
  void figure(const std::string& name, const Figure& figure);
  // A number of the result, printed and kept for analysis.json. The name says what it is, in words.
  void number(const std::string& name, double value);
  // A line for the user, unless quiet.
  void line(const std::string& text) const;
  // A part of the result is missing. The analysis goes on; the program reports the problem at the end and fails.
  void problem(const std::string& text) { problems_.push_back(text); }

  const Json& numbers() const { return numbers_; }  // name -> number; null where it is not finite
  const std::vector<std::string>& figures() const { return figures_; }
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  std::filesystem::path folder_;
  Progress::Mode progress_;
  Json numbers_ = Json::object();
  std::vector<std::string> figures_, problems_;
  bool gnuplot_reported_missing_ = false;
};

class Analysis {
 public:
  virtual ~Analysis() = default;
  virtual void run(AnalysisOutput& output) = 0;
};

// What an analysis is built from. Bad values are noted in the reader.
struct AnalysisInput {
  const ConfigReader& json;  // the object "analysis"
  uint64_t seed;             // of everything random in an analysis without an experiment
  // The other keys of the document, for types with an experiment: read_experiment(experiment, origin, extensions,
  // assignments). `assignments` are applied already.
  const Json& experiment;
  const std::string& origin;
  const Extensions& extensions;
  const std::vector<std::string>& assignments;
};

using AnalysisBuilder = std::function<std::unique_ptr<Analysis>(const AnalysisInput&)>;
struct AnalysisType {
  AnalysisBuilder build;
  bool has_experiment = false;
};

class AnalysisRegistry : public Registry<AnalysisType> {
 public:
  AnalysisRegistry() : Registry("an analysis") {}
  static AnalysisRegistry builtin();
};

struct ConfiguredAnalysis {
  std::string name, type;
  Json effective;  // the document with every default of "analysis" filled in
  std::unique_ptr<Analysis> analysis;
};

// Reads a document, with `--set` assignments applied to it. Throws ConfigError with all problems.
ConfiguredAnalysis read_analysis(Json document, const std::string& origin, const AnalysisRegistry& analyses,
                                 const Extensions& extensions, const std::vector<std::string>& assignments = {});

// The JSON Schema of what read_analysis reads (apps/schema.h).
Json analysis_schema(const AnalysisRegistry& analyses, const Extensions& extensions);

// Runs the analysis into `folder`, which is made. analysis.json there holds configuration, numbers and version, and
// whether the analysis has finished; it is written before the analysis begins. Figures of an earlier analysis are
// removed then. Throws Error if the folder holds other files or an analysis of another type, and at the end if there
// were problems.
void run_analysis(ConfiguredAnalysis& configured, const std::filesystem::path& folder, Progress::Mode progress);
inline constexpr const char* analysis_file = "analysis.json";
inline constexpr const char* analysed_runs_folder = "runs";  // what an analysis trains

// The program noisysgd-analyze, for these types.
int analyze_main(int argc, char** argv, const AnalysisRegistry& analyses = AnalysisRegistry::builtin(),
                 const Extensions& extensions = {});

}  // namespace noisysgd
