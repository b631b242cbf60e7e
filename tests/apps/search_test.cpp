// Grids: an experiment with a regime for each combination of values, and the columns of its table.
#include <noisysgd/apps/search.h>

#include <fmt/format.h>

#include <noisysgd/apps/names.h>
#include <noisysgd/apps/suite.h>
#include <noisysgd/core/config_path.h>
#include <noisysgd/core/file.h>
#include "tests/apps/tiny_suite.h"
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Json tiny() { return parse_config(tiny_suite, "test"); }

std::string refused(const std::vector<std::string>& grids) {
  return error_of([&] { grid_of(tiny(), "test", grids); });
}

}  // namespace

TEST_CASE("a grid has a regime for each combination of values, and everything else as before") {
  const Experiment before = read_experiment(tiny(), "test", {});
  const Experiment grid = read_experiment(
      grid_of(tiny(), "test", {"optimizer.learning_rate=0.02,1e-3", "$.optimizer.nesterov=true,false"}), "test", {});
  CHECK(grid.columns == std::vector<std::string>{"optimizer.learning_rate", "optimizer.nesterov"});
  CHECK(grid.seeds == before.seeds);
  REQUIRE(grid.regimes.size() == 12);
  size_t i = 0;
  for (const Regime& old : before.regimes)
    for (const double rate : {0.02, 0.001})
      for (const bool nesterov : {true, false}) {
        const Regime& point = grid.regimes[i++];
        CHECK(point.name == fmt::format("{},{},{}", old.name, rate, nesterov));
        Json expected = old.effective;
        expected["optimizer"]["learning_rate"] = rate;
        expected["optimizer"]["nesterov"] = nesterov;
        CHECK(point.effective == expected);
      }
}

TEST_CASE("a grid may concern one regime, set a value in a list, and need no regimes") {
  const Experiment one =
      read_experiment(grid_of(tiny(), "test", {"regimes[LB].batch.size=8,24", "model.hidden[0]=4,6"}), "test", {});
  std::vector<std::string> names;
  for (const Regime& regime : one.regimes) names.push_back(regime.name);
  CHECK(names ==
        std::vector<std::string>{"SB,4", "SB,6", "LB,8,4", "LB,8,6", "LB,24,4", "LB,24,6", "free,4", "free,6"});
  CHECK(one.regimes[3].batch.size == 8);
  CHECK(one.regimes[3].effective.at("model").at("hidden") == Json{6});
  CHECK(one.regimes[0].batch.size == 16);
  CHECK(one.columns == std::vector<std::string>{"batch.size", "model.hidden[0]"});

  const Experiment alone =
      read_experiment(grid_of(Json{{"epochs", 3}}, "test", {"optimizer.type=sgd,\"adamw\""}), "test", {});
  REQUIRE(alone.regimes.size() == 2);
  CHECK(alone.regimes[0].name == "sgd");
  CHECK(alone.regimes[1].optimizer.type == "adamw");
  CHECK(alone.regimes[1].epochs == 3);
}

TEST_CASE("problems of a grid are told with its text") {
  CHECK(refused({"optimizer.learning_rate"}) == "--grid optimizer.learning_rate: expected PATH=A,B,…");
  CHECK(refused({"epochs=1,,2"}) == "--grid epochs=1,,2: has an empty value");
  CHECK(refused({"epochs="}) == "--grid epochs=: has an empty value");
  CHECK(refused({"epochs=1,2,1"}) == "--grid epochs=1,2,1: has 1 twice");
  CHECK(refused({"batch.micro=null,8"}) == "--grid batch.micro=null,8: null is no number, text, true or false");
  CHECK(refused({"batch={}"}) == "--grid batch={}: {} is no number, text, true or false");
  CHECK(
      refused({"regimes[XL].epochs=1"}) ==
      R"(--grid regimes[XL].epochs=1: there is no such regime; expected regimes[NAME].PATH with one of "SB", "LB", "free")");
  CHECK(refused({"regimes[lb].epochs=1"}) ==
        R"(--grid regimes[lb].epochs=1: there is no such regime; did you mean "LB"?)");
  CHECK(refused({"LB.epochs=1"}) == R"(--grid LB.epochs=1: a value of this regime is "regimes[LB].epochs")");
  CHECK(error_of([] {
          grid_of(Json{{"epochs", 1}}, "test", {"regimes[LB].epochs=1"});
        }) == "--grid regimes[LB].epochs=1: the configuration has no regimes");
  CHECK(refused({"epochs=1", "regimes[LB].epochs=2"}) ==
        "--grid regimes[LB].epochs=2: another --grid has values of epochs");
  CHECK(contains(refused({"regimes[LB].epochs=2", "regimes[SB].epochs=2"}), "no error"));
  std::string many = "epochs=1";
  for (int i = 2; i <= 40; ++i) many += fmt::format(",{}", i);
  CHECK(refused({many, "batch.size=" + many.substr(7)}) ==
        "--grid: 1600 combinations of values, at most 1000 are possible");
  CHECK(contains(error_of([] { read_experiment(grid_of(tiny(), "test", {"optimizer.learning_rte=1"}), "test", {}); }),
                 "$.optimizer.learning_rte: unknown key"));
}

TEST_CASE("values with a '/' or a dot at the beginning name folders") {
  CHECK(point_name("LB", {{"model.weights", "runs/a.safetensors"}}) == "LB,runs_a.safetensors");
  CHECK(point_name("", {{"data.root", "./a/b"}, {"epochs", 2}}) == "__a_b,2");
  CHECK(regime_name_problem(point_name("", {{"data.root", "/a"}})).empty());
  CHECK(contains(refused({"model.weights=a/b,a_b"}), "no error"));
  CHECK(contains(error_of([] { read_experiment(grid_of(tiny(), "test", {"model.weights=a/b,a_b"}), "test", {}); }),
                 "\"SB,a_b\" is used twice"));
}

TEST_CASE("values are found by the paths that set them") {
  const Json document = parse_config(R"({"a": {"b": [1, {"name": "x", "c": 2}]}})", "test");
  REQUIRE(find_value(document, "a.b[0]"));
  CHECK(*find_value(document, "a.b[0]") == 1);
  CHECK(*find_value(document, "$.a.b[x].c") == 2);
  for (const char* path : {"", "a.", "a.c", "a.b[2]", "a.b[y].c", "a[b]", "a.b[0].c"})
    CHECK_FALSE(find_value(document, path));
}

TEST_CASE("the table of a grid has its values, and its runs can be resumed and selected") {
  const Workplace place(R"({"data": {"train_size": 64, "test_size": 32}, "model": {"type": "mlp", "hidden": [4]},
                            "batch": {"size": 32}, "epochs": 1})");
  const std::vector<std::string> grid{"--grid", "optimizer.learning_rate=0.05,0.1", "--output", "out", "--quiet"};
  std::vector<std::string> first = grid;
  first.insert(first.end(), {"--only", "regime=0.1"});
  REQUIRE(place.run(first).status == 0);
  CHECK_FALSE(std::filesystem::exists(place.path() / "out/0.05"));
  const std::string summary = read_file(place.path() / "out/0.1/seed-1/summary.json");
  std::vector<std::string> rest = grid;
  rest.emplace_back("--resume");
  REQUIRE(place.run(rest).status == 0);
  CHECK(read_file(place.path() / "out/0.1/seed-1/summary.json") == summary);
  const std::string table = read_file(place.path() / "out/table.txt");
  INFO(table);
  CHECK(contains(table, "\nregime  learning_rate  test accuracy %  train loss\n"));
  CHECK(contains(table, "\n0.05             0.05 "));
  const Json rows = parse_json(read_file(place.path() / "out/table.json"), "table").at("rows");
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].at("values") == Json{{"optimizer.learning_rate", 0.1}});
  CHECK(rows[1].contains("best_test_accuracy"));
  // The folder is that of an ordinary suite.
  const CommandResult again = Command(NSGD_TRAIN_PROGRAM, {"out", "--resume", "--threads", "1"}, place.path()).wait();
  CHECK(again.status == 0);
  CHECK(contains(again.output, table));
}

TEST_CASE("a column that no regime has is refused") {
  CHECK(contains(error_of([] { experiment_with({"columns=[\"batch.size\", \"noise.scale\"]"}); }),
                 "$.columns[1]: no regime has a value \"noise.scale\""));
}
