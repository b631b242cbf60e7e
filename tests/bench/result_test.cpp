// Results of given times: roofs, the JSON file and what a later run reads of it, bars.
#include <noisysgd/bench/result.h>

#include <fstream>

#include <noisysgd/core/file.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::bench;
using namespace noisysgd::test;

namespace {

constexpr double billion = 1e9;

struct Fixture {
  Case copying{.name = "copying", .arrays = {{{1000}}, {{1000}, Use::write}}, .flops = 1000};
  Case computing{.name = "computing", .arrays = {{{10}, Use::update}}, .flops = 1e6, .bytes = 40};
  std::vector<Result> results{{&copying, 1e-7, Samples({2e-6, 1e-6, 3e-6})}, {&computing, 0.5, Samples({1e-3})}};
  Conditions conditions{.roofs = {8 * billion, 2 * billion, "FMA"},
                        .settings = {{"device", "cpu"}, {"precision", "fp32"}, {"threads", 2}, {"rounds", 3}}};
  Json machine{{"processor", "A"}, {"date", "2024-01-01"}};

  Section section() const { return section_of(results, conditions, machine); }
  void write(const std::string& path, const Json& cases) const {
    write_file_atomically(path, Json{{"machine", machine}, {"cases", cases}}.dump());
  }
};

std::string verdict_of(const Verdicts& verdicts, size_t i) { return verdicts.section().json.at(i).at("verdict"); }

}  // namespace

TEST_CASE("the slower of moving and computing is the roof") {
  const Roofs roofs{100, 10, "FMA"};
  CHECK(share_of_roof(200, 0, 4, roofs).value == 0.5);
  CHECK(share_of_roof(200, 0, 4, roofs).roof == "copy");
  CHECK(share_of_roof(200, 19, 4, roofs).roof == "copy");
  CHECK(share_of_roof(200, 30, 4, roofs).value == 0.75);
  CHECK(share_of_roof(200, 30, 4, roofs).roof == "FMA");
}

TEST_CASE("results are a table and JSON") {
  const Fixture f;
  const Section section = f.section();
  CHECK(section.table.text() ==
        "case         ms     p5 – p95  GB/s  GFLOP/s  share  roof\n"
        "---------  ----  -----------  ----  -------  -----  ----\n"
        "copying    0.00  0.00 – 0.00   4.0      0.5   0.50  copy\n"
        "computing  1.00  1.00 – 1.00   0.0      1.0   0.50   FMA\n");
  const Json& json = section.json["cases"][0];
  CHECK(json["name"] == "copying");
  CHECK(json["arrays"] == Json::parse("[[1000], [1000]]"));
  CHECK(json["bytes"] == 8000);
  CHECK(json["seconds"]["median"] == 2e-6);
  CHECK(json["bytes_per_second"].get<double>() == Approx(4 * billion));
  CHECK(json["flops_per_second"].get<double>() == Approx(0.5 * billion));
  CHECK(json["share_of_roof"].get<double>() == Approx(0.5));
  CHECK(json["error"] == 1e-7);
  CHECK_FALSE(json.contains("ratio_to_earlier"));
  CHECK(section.json["copy_bytes_per_second"] == 8 * billion);
}

TEST_CASE("a later run reads the file that an earlier one wrote, and has ratios to it") {
  const TemporaryFolder folder;
  const std::string path = folder / "earlier.json";
  Fixture f;
  f.write(path, Json::array({f.section().json}));
  const Earlier earlier = Earlier::read(path);
  CHECK(earlier.seconds == std::map<std::string, double>{{"copying", 2e-6}, {"computing", 1e-3}});
  CHECK(earlier.differences(f.machine, f.conditions.settings).empty());

  f.conditions.earlier = &earlier;
  f.computing.name = "renamed";
  f.results[0].times = Samples({3e-6, 3e-6, 4e-6});
  f.copying.ratio = 1.2;
  const Section section = f.section();
  CHECK(section.json["cases"][0]["ratio_to_earlier"].get<double>() == Approx(1.5));
  CHECK_FALSE(section.json["cases"][1].contains("ratio_to_earlier"));
  CHECK(contains(section.table.text(), "1.500"));
  CHECK(contains(section.note, "Not in that file: renamed."));
  CHECK_FALSE(contains(section.note, "Not comparable"));
  CHECK(verdict_of(judge(f.results, f.conditions, false), 1) == "BROKEN");

  f.machine = {{"processor", "B"}, {"gpu", "H"}};
  f.conditions.settings["threads"] = 1;
  CHECK(earlier.differences(f.machine, f.conditions.settings) ==
        std::vector<std::string>{"processor: A there, B here", "gpu: none there, H here", "threads: 2 there, 1 here"});
  CHECK(contains(f.section().note, "\nNot comparable: threads: 2 there, 1 here."));
}

TEST_CASE("a file that is no report of cases is refused with what it lacks") {
  const TemporaryFolder folder;
  const std::string path = folder / "earlier.json";
  const Fixture f;
  const auto refused = [&](const std::string& text) {
    std::ofstream(path) << text;
    return error_of([&] { Earlier::read(path); });
  };
  const auto lacks = [&](const std::string& key) {
    return path + ": " + key + " is missing; expected what --json of this program wrote";
  };
  CHECK(refused("[]") == lacks("$.machine"));
  CHECK(refused(R"({"cases": []})") == lacks("$.machine"));
  CHECK(refused(R"({"machine": {}, "steps": []})") == lacks("$.cases[0]"));
  CHECK(refused(R"({"machine": {}, "cases": []})") == lacks("$.cases[0]"));
  CHECK(refused(R"({"machine": {}, "cases": [{"settings": {}}]})") == lacks("$.cases[0].cases"));
  CHECK(refused(R"({"machine": {}, "cases": [{"cases": []}]})") == lacks("$.cases[0].settings"));
  const auto with_case = [&](const std::string& one) {
    return refused(R"({"machine": {}, "cases": [{"settings": {}, "cases": [)" + one + "]}]}");
  };
  CHECK(with_case("{}") == lacks("$.cases[0].cases[0].name"));
  CHECK(with_case(R"({"name": "x"})") == lacks("$.cases[0].cases[0].seconds.median"));
  CHECK(with_case(R"({"name": "x", "seconds": {"median": 0}})") == lacks("$.cases[0].cases[0].seconds.median"));
  CHECK(contains(refused("{"), "earlier.json:1:2: syntax error"));
  CHECK(contains(error_of([&] { Earlier::read(folder / "none.json"); }), "none.json"));
}

TEST_CASE("bars are kept, broken or not measured, and times of an emulated device are not judged") {
  Fixture f;
  f.copying.share = 0.4;
  f.computing.share = 0.6;
  f.copying.ratio = 2;
  const Verdicts verdicts = judge(f.results, f.conditions, false);
  CHECK(verdicts.section().table.text() ==
        "case                  of    value      bar       verdict\n"
        "---------  -------------  -------  -------  ------------\n"
        "copying            error  1.0e-07  ≤ 1e-05          kept\n"
        "copying    share of roof    0.500    ≥ 0.4          kept\n"
        "copying            ratio               ≤ 2  not measured\n"
        "computing          error  5.0e-01  ≤ 1e-05        BROKEN\n"
        "computing  share of roof    0.500    ≥ 0.6        BROKEN\n");
  CHECK(verdicts.broken() == 2);
  CHECK(verdicts.section().json[3]["bar"] == Json{{"case", "computing"}, {"of", "error"}, {"at_most", 1e-5}});
  CHECK(verdicts.section().json[2]["value"].is_null());

  const Verdicts emulated = judge(f.results, f.conditions, true);
  CHECK(emulated.broken() == 1);  // the error
  CHECK(verdict_of(emulated, 4) == "emulated: not judged");

  for (Result& result : f.results) result.times = {};
  const Verdicts unmeasured = judge(f.results, f.conditions, false);
  CHECK(unmeasured.broken() == 1);
  CHECK(verdict_of(unmeasured, 1) == "not measured");
}

TEST_CASE("a value that is not a number keeps no limit") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(Limit{true, 1}.kept_by(nan));
  CHECK_FALSE(Limit{false, 1}.kept_by(nan));
  CHECK(Limit{true, 1}.kept_by(1));
  CHECK(Limit{false, 1}.kept_by(1));
}
