// noisysgd-report as a user runs it.
#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/core/file.h>
#include "tests/apps/command.h"
#include "tests/apps/report/run_folders.h"
#include "tests/apps/failing_gnuplot.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

namespace fs = std::filesystem;

CommandResult report(const TemporaryFolder& folder, const std::vector<std::string>& arguments) {
  return Command(NSGD_REPORT_PROGRAM, arguments, folder.path()).wait();
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

// Three seeds of a regime, one of which is still running, and two of another.
void write_runs(const TemporaryFolder& folder) {
  for (const uint64_t seed : {1, 2, 3}) {
    const std::string name = "seed-" + std::to_string(seed);
    const double accuracy = 0.9 + 0.01 * static_cast<double>(seed);
    write_run(folder / "s/A&<i>\"" / name, "A&<i>\"", seed, {{"epochs", 2}, {"k<e>y", "v&"}});
    write_file_atomically(folder / "s/A&<i>\"" / name / "metrics.jsonl",
                          log_of(seed < 3 ? 2 : 1, 3, seed < 3 ? "" : "{\"st"));
    if (seed == 3) continue;
    write_json(folder / "s/A&<i>\"" / name / "summary.json", summary_with(accuracy));
    write_run(folder / "s/B" / name, "B", seed, {{"epochs", 2}, {"k<e>y", "w"}});
    write_file_atomically(folder / "s/B" / name / "metrics.jsonl", log_of(2, 2));
    write_json(folder / "s/B" / name / "summary.json", summary_with(accuracy - 0.02));
  }
}

}  // namespace

TEST_CASE("a file that is no page is not replaced by a report") {
  const TemporaryFolder folder;
  write_runs(folder);
  const std::string log = read_file(folder / "s/B/seed-1/metrics.jsonl");
  const CommandResult result = report(folder, {"s", "--output", "s/B/seed-1/metrics.jsonl"});
  CHECK(result.status == 1);
  CHECK(contains(result.error, "s/B/seed-1/metrics.jsonl: is there and is not an HTML page"));
  CHECK(read_file(folder / "s/B/seed-1/metrics.jsonl") == log);
  CHECK(report(folder, {"s"}).status == 0);
  CHECK(report(folder, {"s"}).status == 0);  // a page is
}

TEST_CASE("if gnuplot fails, the page is made without the figures and the program fails") {
  const TemporaryFolder folder;
  write_runs(folder);
  write_failing_gnuplot(folder.path());
  const std::string line = "PATH=.:$PATH exec '" + std::string(NSGD_REPORT_PROGRAM) + "' s";
  const CommandResult result = Command("/bin/sh", {"-c", line}, folder.path()).wait();
  CHECK(result.status == 1);
  CHECK(contains(result.error, "cannot be drawn: gnuplot: failed: line 3: no such terminal"));
  CHECK(contains(read_file(folder / "report.html"), "Results"));
}

TEST_CASE("regimes on different data are not compared") {
  const TemporaryFolder folder;
  for (const char* name : {"A", "B", "C"}) {
    const Json data{{"type", name[0] == 'C' ? "mnist" : "cifar10"}};
    for (const uint64_t seed : {1, 2}) {
      const fs::path run = folder / "s" / name / ("seed-" + std::to_string(seed));
      write_run(run, name, seed, {{"data", data}});
      write_json(run / "summary.json", summary_with(name[0] == 'A' ? 0.5 : 0.75));
    }
  }
  CHECK(report(folder, {"s"}).status == 0);
  const std::string page = read_file(folder / "report.html");
  CHECK(contains(page, "A − B"));
  CHECK(contains(page, "−25.00"));
  CHECK_FALSE(contains(page, "A − C"));
}

TEST_CASE("a report shows configurations, curves, results, differences and machines, and escapes every name") {
  const TemporaryFolder folder;
  write_runs(folder);
  const CommandResult result = report(folder, {"s"});
  CHECK(result.error == "");
  CHECK(result.output == "report.html\n");
  REQUIRE(result.status == 0);
  const std::string page = read_file(folder / "report.html");
  CHECK(contains(page, "<td>k&lt;e&gt;y</td><td>&quot;v&amp;&quot;</td><td>&quot;w&quot;</td>"));
  CHECK_FALSE(contains(page, "<i>"));
  CHECK_FALSE(contains(page, "<td>epochs</td>"));  // equal in both
  CHECK(contains(page, "<td>2 of 3</td><td>91.50 ± 0.71</td>"));
  CHECK(contains(page, "<td>higher</td><td>+2.00</td><td>+2.00 to +2.00</td><td>2</td>"));
  CHECK(contains(page, "not finished; log of 20"));
  CHECK(contains(page, "<td>1 of 2</td><td>3</td>"));  // epoch and step of the unfinished run
  CHECK(contains(page, "<td>a processor</td><td>fp32</td><td>2</td><td>3 MiB</td><td>1m01s</td><td>7.8.9</td>"));
  // training and test loss and accuracy, learning rate, gradient norm, and the ratio of one layer
  CHECK(count(page, "<svg role=\"img\"") == 7);
  CHECK(contains(page, "per layer: conv&lt;1&gt;\""));
  CHECK_FALSE(contains(page, "norm of the noise"));
  CHECK_FALSE(contains(page, "<script"));
  CHECK_FALSE(contains(page, "src=\"http"));
  CHECK_FALSE(contains(page, "url(http"));
}

TEST_CASE("the figures of an analysis are in the report") {
  const TemporaryFolder folder;
  make_folder(folder / "a");
  const std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
  write_file_atomically(folder / "a/one.svg", svg);
  write_json(folder / "a/analysis.json", {{"configuration", {{"name", "<n>"}, {"analysis", {{"type", "quadratic"}}}}},
                                          {"version", "7.8.9"},
                                          {"seconds", 1.25},
                                          {"figures", {"one", "two", "../one"}},
                                          {"numbers", {{"a<b", 0.125}, {"infinite", nullptr}}}});
  const CommandResult result = report(folder, {"a", "--output", "page.html"});
  CHECK(result.status == 1);
  CHECK(result.error ==
        "noisysgd-report: a/two.svg: is missing; the analysis may have run without gnuplot\n"
        "noisysgd-report: a: analysis.json names the figure \"../one\", expected the name of a file in "
        "the folder\n");
  const std::string page = read_file(folder / "page.html");
  CHECK(contains(page, "<h3>&lt;n&gt;</h3>"));
  CHECK(contains(page, "Analysis quadratic in a, version 7.8.9, 1.2 s"));
  CHECK(contains(page, "<td>a&lt;b</td><td>0.125</td>"));
  CHECK(contains(page, "<td>infinite</td><td>not finite</td>"));
  CHECK(count(page, "src=\"data:image/svg+xml;base64,PHN2ZyB4bWxucz0i") == 1);
  CHECK_FALSE(contains(page, "alert"));
  CHECK(contains(page, "<li>a/two.svg: is missing; the analysis may have run without gnuplot</li>"));
}

TEST_CASE("a report names what is damaged or missing and shows the rest") {
  const TemporaryFolder folder;
  write_runs(folder);
  make_folder(folder / "bad<b>");
  write_file_atomically(folder / "bad<b>/config.json", "{");
  const CommandResult result = report(folder, {"s/B", "bad<b>", "gone"});
  CHECK(result.status == 1);
  CHECK(contains(result.error, "noisysgd-report: bad<b>/config.json:"));
  CHECK(contains(result.error, "noisysgd-report: gone: does not exist\n"));
  const std::string page = read_file(folder / "report.html");
  CHECK(contains(page, "<li>bad&lt;b&gt;/config.json:"));
  CHECK(contains(page, "<li>gone: does not exist</li>"));
  CHECK(contains(page, "<td>2 of 2</td>"));
}

TEST_CASE("a report of nothing is not written") {
  const TemporaryFolder folder;
  const CommandResult result = report(folder, {"gone"});
  CHECK(result.status == 1);
  CHECK(result.error ==
        "noisysgd-report: gone: does not exist\nnoisysgd-report: nothing to show; report.html is not written\n");
  CHECK_FALSE(fs::exists(folder / "report.html"));
  CHECK(report(folder, {}).status >= 100);
}

TEST_CASE("a report that cannot be written says so before it reads the runs") {
  const TemporaryFolder folder;
  write_runs(folder);
  const CommandResult result = report(folder, {"s", "gone", "--output", "no/such/report.html"});
  CHECK(result.status == 1);
  CHECK(contains(result.error, "noisysgd-report: "));
  CHECK(contains(result.error, "no/such/report.html"));
  CHECK_FALSE(contains(result.error, "gone"));
  make_folder(folder / "taken");
  CHECK(contains(report(folder, {"s", "--output", "taken"}).error, "taken"));
}

TEST_CASE("without gnuplot the report has the tables and says what is missing") {
  const TemporaryFolder folder;
  write_runs(folder);
  const std::string before = ::getenv("PATH") ? ::getenv("PATH") : "";
  ::setenv("PATH", folder.path().c_str(), 1);
  const CommandResult result = report(folder, {"s"});
  ::setenv("PATH", before.c_str(), 1);
  CHECK(result.error == "");
  CHECK(result.status == 0);
  const std::string page = read_file(folder / "report.html");
  CHECK(contains(page, "no pictures are drawn: gnuplot is not found"));
  CHECK(contains(page, "<td>2 of 3</td><td>91.50 ± 0.71</td>"));
  CHECK(count(page, "<svg") == 0);
}

TEST_CASE("the report of a trained suite has its curves and the table's results") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "c.json", R"({"name": "tiny", "seeds": [1, 2],
    "data": {"train_size": 96, "test_size": 32}, "model": {"type": "mlp", "hidden": [8]}, "batch": {"size": 32},
    "epochs": 2, "optimizer": {"learning_rate": 0.05}, "logging": {"every_steps": 1, "noise_scale": true},
    "regimes": [{"name": "LB"}, {"name": "LB+Diag", "noise": {"type": "diagonal_fisher", "small_batch": 16}}]})");
  const CommandResult trained =
      Command(NSGD_TRAIN_PROGRAM, {"c.json", "--quiet", "--output", "runs"}, folder.path()).wait();
  INFO(trained.error);
  REQUIRE(trained.status == 0);
  const CommandResult result = report(folder, {"runs"});
  CHECK(result.error == "");
  REQUIRE(result.status == 0);
  const std::string page = read_file(folder / "report.html");
  const Json table = parse_json(read_file(folder / "runs/table.json"), "table");
  for (const Json& row : table["rows"]) {
    const double mean = row["test_accuracy"]["mean"], deviation = row["test_accuracy"]["standard_deviation"];
    CHECK(contains(page, fmt::format("<td>2 of 2</td><td>{:.2f} ± {:.2f}</td>", 100 * mean, 100 * deviation)));
  }
  CHECK(contains(page, "<td>noise.type</td>"));
  for (const char* quantity : {"training loss", "training accuracy (%)", "test loss", "test accuracy (%)",
                               "learning rate", "norm of the gradient", "norm of the noise",
                               "gradient noise scale (samples)", "variance of a sample&#39;s gradient"})
    CHECK(contains(page, fmt::format("aria-label=\"{}\"", quantity)));
}
