// noisysgd-report: one HTML page about runs, suites and analyses.
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/apps/arguments.h>
#include <noisysgd/apps/console.h>
#include <noisysgd/apps/program.h>
#include <noisysgd/apps/report/html.h>
#include <noisysgd/apps/report/page.h>
#include <noisysgd/core/file.h>

namespace noisysgd {
namespace {

int report(const std::vector<std::string>& arguments, const std::string& output) {
  check_replaceable(output, html::page_begin, "an HTML page");
  std::vector<std::filesystem::path> folders;
  for (const std::string& argument : arguments) folders.emplace_back(path_of_argument(argument));
  const ReportSources sources = read_sources(folders);
  const ReportPage page = report_page(sources, utc_text(std::time(nullptr)));
  for (const std::string& problem : page.problems) print_error("noisysgd-report: {}\n", problem);
  if (sources.groups.empty() && sources.analyses.empty()) {
    print_error("noisysgd-report: nothing to show; {} is not written\n", output);
    return 1;
  }
  write_file_atomically(output, page.html);
  print_out("{}\n", output);
  return page.problems.empty() ? 0 : 1;
}

}  // namespace
}  // namespace noisysgd

int main(int argc, char** argv) {
  using namespace noisysgd;
  CLI::App app{"Writes one HTML page about runs and analyses, finished or not", "noisysgd-report"};
  std::vector<std::string> runs;
  std::string output = "report.html";
  app.add_option("RUN", runs, "Folders of runs, suites and analyses, or folders that hold some")->required();
  add_path(app, "--output", output, "File to write")->capture_default_str();
  return run_program(app, argc, argv, [&] { return report(runs, output); });
}
