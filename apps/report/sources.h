// What a report is about: the runs and the analyses in the folders that the user names, and which runs belong together.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/apps/report/logged_run.h>

namespace noisysgd {

struct AnalysisRecord {
  std::filesystem::path folder;
  Json record;  // analysis.json
};

// A regime of an experiment: runs of one configuration that differ in their seeds.
struct RunGroup {
  std::string label;            // unique
  std::filesystem::path suite;  // folder of the suite; of the run, if it is in none
  std::vector<LoggedRun> runs;  // by seed
};

struct ReportSources {
  std::vector<RunGroup> groups;
  std::vector<AnalysisRecord> analyses;
  std::vector<std::string> missing;   // runs that a suite's configuration has and that have not begun
  std::vector<std::string> problems;  // what cannot be shown, and why
};

// The name of a suite's folder; for runs that an analysis has trained, the name of the analysis' folder.
std::string suite_name(const std::filesystem::path& suite);

// Reads every run and every analysis in the folders or below them, each once. Regimes of a suite keep the order of
// its configuration. Runs of several folders are one group if they have one regime and configuration and if no seed
// occurs twice. What cannot be read becomes one of the `problems`.
ReportSources read_sources(const std::vector<std::filesystem::path>& folders);

}  // namespace noisysgd
