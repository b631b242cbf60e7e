// The analyses of networks on small suites that train in moments.
#include <noisysgd/apps/analysis/analysis.h>

#include <Eigen/Core>
#include <Eigen/Eigenvalues>

#include <cmath>
#include <filesystem>

#include <noisysgd/apps/analysis/analysed_runs.h>
#include <noisysgd/apps/analysis/convergence.h>
#include <noisysgd/apps/analysis/gradient_variance.h>
#include <noisysgd/apps/analysis/hessian.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>
#include "tests/apps/run_files.h"
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

namespace fs = std::filesystem;

constexpr const char* networks = R"({
  "name": "nets", "device": "cpu", "threads": 1,
  "data": {"train_size": 256, "test_size": 64}, "model": {"type": "mlp", "hidden": [8]},
  "epochs": 4, "batch": {"size": 64}, "optimizer": {"learning_rate": 0.1},
  "logging": {"every_steps": 2, "noise_scale": true},
  "checkpoint": {"keep_every_epochs": 2}, "seeds": [1, 2],
  "regimes": [{"name": "SB", "batch": {"size": 16}}, {"name": "LB"},
    {"name": "LB+Diag", "noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1}},
    {"name": "LB+Full", "noise": {"type": "full_fisher", "small_batch": 16, "stop_fraction": 1}}]})";

Json document(const std::string& analysis, const std::string& changes = "{}", const char* base = networks) {
  Json document = parse_config(base, "test");
  document.merge_patch(parse_json(changes, "test"));
  document["analysis"] = parse_json(analysis, "test");
  return document;
}

Json run(const Json& document, const fs::path& folder) {
  ConfiguredAnalysis configured = read_analysis(document, "test", AnalysisRegistry::builtin(), {});
  run_analysis(configured, folder, Progress::Mode::quiet);
  return parse_json(read_file(folder / analysis_file), "analysis.json");
}

std::string problem_of(const Json& document) {
  return error_of([&] { read_analysis(document, "test", AnalysisRegistry::builtin(), {}); });
}

Figure figure(const fs::path& folder, const std::string& name) {
  return figure_from_json(parse_json(read_file(folder / (name + ".json")), name), name);
}

const Series& series(const Panel& panel, const std::string& name) {
  for (const Series& one : panel.series)
    if (one.name == name) return one;
  throw Error("no series " + name);
}

}  // namespace

TEST_CASE("convergence is what the logs of the runs say, and made once") {
  const TemporaryFolder folder;
  const Json doc = document(R"({"type": "convergence", "window": 2, "errors": [0.9999]})");
  const Json record = run(doc, folder / "a");
  const Panel errors = figure(folder / "a", "convergence").panels[0];
  REQUIRE(errors.series.size() == 4);
  const fs::path runs = folder / "a/runs";
  std::vector<double> expected, steps;
  for (const std::string seed : {"seed-1", "seed-2"}) {
    std::vector<Json> lines = metrics_of(runs / "LB+Diag" / seed);
    std::erase_if(lines, [](const Json& line) { return line["split"] != "train"; });
    REQUIRE(lines.size() == 8);
    for (size_t i = 0; i < 4; ++i) {
      const double first = lines[2 * i]["accuracy"], second = lines[2 * i + 1]["accuracy"];
      const double error = 1 - (first + second) / 2;
      if (seed == "seed-1") expected.push_back(error / 2), steps.push_back(lines[2 * i + 1]["step"]);
      else expected[i] += error / 2;
    }
  }
  const Series& diagonal = series(errors, "LB+Diag");
  CHECK(diagonal.x == steps);
  REQUIRE(diagonal.y.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(diagonal.y[i] == Approx(expected[i]));
    CHECK((diagonal.low[i] + diagonal.high[i]) / 2 == Approx(expected[i]));
  }
  CHECK(record["numbers"]["LB+Diag: updates to a training error of 0.9999"] == diagonal.x[0]);

  // The same again trains nothing, and another analysis reads the runs where they are.
  const auto written = fs::last_write_time(runs / "SB/seed-1/summary.json");
  CHECK(run(doc, folder / "a")["numbers"] == record["numbers"]);
  CHECK(fs::last_write_time(runs / "SB/seed-1/summary.json") == written);
  Json there{{"analysis", doc["analysis"]}};
  there["analysis"]["runs"] = runs.string();
  CHECK(run(there, folder / "b")["numbers"] == record["numbers"]);
  CHECK(!fs::exists(folder / "b/runs"));
}

TEST_CASE("a part of the runs is made and shown, and the rest follows") {
  const TemporaryFolder folder;
  Json doc = document(R"({"type": "convergence", "only": ["regime=SB,seed=2"]})");
  run(doc, folder / "a");
  CHECK(is_finished(folder / "a/runs/SB/seed-2"));
  CHECK(!is_finished(folder / "a/runs/SB/seed-1"));
  CHECK(figure(folder / "a", "convergence").panels[0].series.size() == 1);
  CHECK(series(figure(folder / "a", "convergence").panels[0], "SB").low.empty());
  doc["analysis"].erase("only");
  run(doc, folder / "a");
  CHECK(figure(folder / "a", "convergence").panels[0].series.size() == 4);
  doc["analysis"]["only"] = {"regime=none"};
  CHECK(problem_of(doc).find("$.analysis.only: ") != std::string::npos);
}

TEST_CASE("runs that are elsewhere have no second configuration, and must be there and finished") {
  const TemporaryFolder folder;
  Json doc = document(R"({"type": "convergence", "only": ["regime=SB,seed=1"]})");
  run(doc, folder / "a");
  doc["analysis"] = {{"type", "convergence"}, {"runs", (folder / "a/runs").string()}};
  CHECK(problem_of(doc).find("$.analysis.runs: the runs have their own configuration: leave out \"batch\"") !=
        std::string::npos);
  const Json all{{"analysis", doc["analysis"]}};
  CHECK(error_of([&] { run(all, folder / "b"); }).find("seed-2: is not a finished run") != std::string::npos);
  const Json nothing{{"analysis", {{"type", "convergence"}, {"runs", (folder / "none").string()}}}};
  CHECK(problem_of(nothing).find("none\" holds no experiment.json") != std::string::npos);
}

TEST_CASE("the noise scale comes from the logs") {
  const TemporaryFolder folder;
  run(document(R"({"type": "noise_scale", "window": 3, "only": ["regime=LB,seed=1"]})",
               R"({"batch": {"size": 96}, "logging": {"every_steps": 1}})"),
      folder / "a");
  std::vector<Json> lines = metrics_of(folder / "a/runs/LB/seed-1");
  std::erase_if(lines, [](const Json& line) { return line["split"] != "train"; });
  double trace = 0, squared = 0;  // batches of 96, 96 and 64 samples
  const double samples[] = {96, 96, 64};
  for (size_t i = 0; i < 3; ++i) {
    const double variance = lines.at(i)["gradient_variance"];
    trace += variance / 3;
    squared += (std::pow(lines[i]["gradient_norm"].get<double>(), 2) - variance / samples[i]) / 3;
  }
  const Figure drawn = figure(folder / "a", "noise_scale");
  CHECK(series(drawn.panels[0], "LB").y.at(0) == Approx(trace));
  CHECK(series(drawn.panels[1], "LB").y.at(0) == Approx(trace / squared).epsilon(1e-4));
  CHECK(problem_of(document(R"({"type": "noise_scale"})", R"({"logging": {"noise_scale": false}})"))
            .find("logging.noise_scale") != std::string::npos);
}

TEST_CASE("a regime whose log is shorter than a window is named, and the others are shown") {
  const TemporaryFolder folder;
  // SB logs 32 lines, LB and the others 8.
  const Json doc = document(R"({"type": "convergence", "window": 9})");
  const std::string problem = error_of([&] { run(doc, folder / "a"); });
  CHECK(problem.find("LB seed 1: is not shown: its log has 8 lines") != std::string::npos);
  CHECK(problem.find("SB") == std::string::npos);
  const Json record = parse_json(read_file(folder / "a" / analysis_file), "record");
  CHECK(record["finished"] == true);
  CHECK(record["problems"].size() == 6);
  CHECK(figure(folder / "a", "convergence").panels[0].series.size() == 1);
}

TEST_CASE("a log line without its number is refused with its place") {
  const TemporaryFolder folder;
  Json doc = document(R"({"type": "convergence", "only": ["regime=LB,seed=1"]})");
  run(doc, folder / "a");
  const fs::path log = folder / "a/runs/LB/seed-1" / metrics_file;
  write_file_atomically(log, read_file(log) + R"({"split": "train", "step": 99, "loss": "x", "accuracy": 1})" + "\n");
  const std::string problem = error_of([&] { run(doc, folder / "a"); });
  CHECK(problem.find("metrics.jsonl, line ") != std::string::npos);
  CHECK(problem.find("\"loss\" is no number") != std::string::npos);
}

TEST_CASE("checkpoints of another run, or of another epoch than their name says, are refused") {
  const TemporaryFolder folder;
  const Json doc = document(R"({"type": "frobenius", "samples": 32, "draws": 0, "only": ["regime=LB"]})");
  run(doc, folder / "a");
  const fs::path one = folder / "a/runs/LB/seed-1", two = folder / "a/runs/LB/seed-2";
  const auto refused = [&] { return error_of([&] { run(doc, folder / "a"); }); };
  fs::copy_file(one / "checkpoint-epoch-2.safetensors", one / "checkpoint-epoch-3.safetensors");
  CHECK(refused().find("checkpoint-epoch-3.safetensors: is the state after epoch 2") != std::string::npos);
  fs::remove(one / "checkpoint-epoch-3.safetensors");
  const std::string own = read_file(one / checkpoint_file);
  write_file_atomically(one / checkpoint_file, read_file(two / checkpoint_file));
  CHECK(refused().find("is of another run (seed: 2 there, 1 here)") != std::string::npos);
  write_file_atomically(one / checkpoint_file, read_file(one / "checkpoint-epoch-2.safetensors"));
  CHECK(refused().find("the run has finished step 16") != std::string::npos);
  write_file_atomically(one / checkpoint_file, own);
  CHECK(refused() == "no error was thrown");
}

TEST_CASE("samples that the data do not have are refused before anything is trained") {
  const TemporaryFolder folder;
  const auto refused = [&](const char* analysis, const char* changes) {
    return error_of([&] { run(document(analysis, changes), folder / "a"); });
  };
  CHECK(refused(R"({"type": "frobenius", "samples": 257})", "{}") == "analysis.samples: 257, but SB has 256 training images");
  CHECK(refused(R"({"type": "gradient_variance"})", R"({"batch": {"size": 300}})") ==
        "LB: batch.size is 300, but there are 256 training images");
  CHECK(refused(R"({"type": "gradient_variance"})",
                R"({"regimes": [{"name": "A"}, {"name": "B", "model": {"type": "mlp", "hidden": [9]}}]})") ==
        "B: has another \"model\" than A, whose network is measured");
  CHECK(!fs::exists(folder / "a/runs"));
}

TEST_CASE("the selected regimes and seed are those whose gradients are measured") {
  const TemporaryFolder folder;
  run(document(R"({"type": "gradient_variance", "batches": 5, "frozen": "LB", "only": ["regime=SB,seed=2"]})"),
      folder / "a");
  CHECK(is_finished(folder / "a/runs/LB/seed-2"));
  CHECK(!fs::exists(folder / "a/runs/LB/seed-1"));
  CHECK(figure(folder / "a", "gradient_variance").panels[0].series.size() == 2);  // SB and its closed form
}

TEST_CASE("variances of elements are those of two passes over the vectors") {
  RunningVariance running(3);
  std::vector<std::vector<float>> vectors;
  for (uint32_t r = 0; r < 7; ++r) {
    vectors.push_back(random_tensor(3, r, 100, 2));
    running.add(vectors.back());
  }
  for (size_t i = 0; i < 3; ++i) {
    double mean = 0, variance = 0;
    for (const auto& v : vectors) mean += v[i] / 7.0;
    for (const auto& v : vectors) variance += (v[i] - mean) * (v[i] - mean) / 6;
    CHECK(running.mean(i) == Approx(mean).epsilon(1e-12));
    CHECK(running.variance(i) == Approx(variance).epsilon(1e-10));
  }
}

TEST_CASE("gradient variances are those of the closed forms within their error") {
  const TemporaryFolder folder;
  const Json record = run(document(R"({"type": "gradient_variance", "batches": 300, "frozen": "LB"})"), folder / "a");
  CHECK(is_finished(folder / "a/runs/LB/seed-1"));
  CHECK(!fs::exists(folder / "a/runs/SB"));  // only the frozen network is trained
  const Panel panel = figure(folder / "a", "gradient_variance").panels[0];
  REQUIRE(panel.series.size() == 8);
  for (const std::string regime : {"SB", "LB", "LB+Diag", "LB+Full"}) {
    CAPTURE(regime);
    const Series &sampled = series(panel, regime), &formula = series(panel, regime + ", closed form");
    REQUIRE(sampled.y.size() == 2);  // of layers
    // A variance of 300 normal numbers has a relative error of sqrt(2 / 300) = 8 %; a layer's mean of many has less.
    for (size_t l = 0; l < 2; ++l) CHECK(sampled.y[l] == Approx(formula.y[l]).epsilon(0.25));
    const double total = record["numbers"][regime + ": total variance of 300 gradients"];
    CHECK(total == Approx(record["numbers"][regime + ": by the closed form"].get<double>()).epsilon(0.2));
  }
  // Figure 2: batches of 16, and of 64 with noise for 16, are as noisy; those of 64 alone are less so.
  const auto at = [&](const char* regime) { return series(panel, std::string(regime) + ", closed form").y[0]; };
  CHECK(at("LB+Diag") == Approx(at("LB+Full")));
  CHECK(at("LB+Diag") == Approx(at("SB")).epsilon(0.3));
  CHECK(at("LB") < 0.5 * at("SB"));
}

TEST_CASE("norms of the Fisher matrix are measured at the start, at kept checkpoints and at the end") {
  const TemporaryFolder folder;
  run(document(R"({"type": "frobenius", "samples": 48, "draws": 100, "only": ["regime=LB+Diag"]})",
               R"({"epochs": 5})"),
      folder / "a");
  const Panel panel = figure(folder / "a", "frobenius").panels[0];
  const Series &full = series(panel, "full Fisher"), &diagonal = series(panel, "diagonal Fisher"),
               &draws = series(panel, "full, by draws");
  CHECK(full.x == std::vector<double>{0, 8, 16, 20});  // four steps an epoch
  REQUIRE(full.low.size() == 4);                       // two seeds
  REQUIRE(draws.y.size() == 4);
  for (size_t i = 0; i < full.y.size(); ++i) {
    CHECK(diagonal.y[i] < full.y[i]);
    // 4950 pairs, of which the largest eigenvalues decide.
    CHECK(draws.y[i] == Approx(full.y[i]).epsilon(0.25));
  }
  CHECK(full.y.front() != full.y.back());
}

TEST_CASE("the mean Hessian as an operator is that of the gradient's differences") {
  Context context({}, 1);
  Model model(context, network_from(R"({"type": "sequential", "layers": [
      {"type": "flatten"}, {"type": "linear", "out_features": 3}, {"type": "relu"}, {"type": "linear"}]})",
                                    {2, 2, 1}, 3), 3);
  model.parameter_set().initialise(3);
  const Batch batch = random_batch(context, {2, 2, 1}, 12, 3);
  const SymmetricOperator hessian = mean_curvature(model, batch, {.targets = Targets::label, .micro_batch = 5});
  const auto n = static_cast<size_t>(hessian.dimension);
  REQUIRE(n == 4 * 3 + 3 + 3 * 3 + 3);
  const Block block(context, model.parameter_set());
  const auto gradient = [&] {
    fill(context, block.all(), 0.0f);
    accumulate(model, batch, {}, {.gradient = block});
    return values_of(context, model.parameters(), block);
  };
  Eigen::MatrixXd dense(n, n);
  for (size_t i = 0; i < n; ++i) {
    std::vector<double> unit(n), product(n);
    unit[i] = 1;
    hessian.multiply(unit, product);
    // The parameter that is number i.
    size_t left = i;
    const Parameter* moved = nullptr;
    for (const Parameter* parameter : model.parameters()) {
      const auto size = static_cast<size_t>(parameter->shape.elements());
      if (left < size) {
        moved = parameter;
        break;
      }
      left -= size;
    }
    float& value = moved->value.span<float>()[left];
    const float before = value, step = 1e-3f;
    value = before + step;
    const std::vector<float> above = gradient();
    value = before - step;
    const std::vector<float> below = gradient();
    value = before;
    for (size_t j = 0; j < n; ++j) {
      const double difference = (double{above[j]} - below[j]) / (2 * step) / 12;
      CHECK(std::abs(product[j] - difference) < 2e-3);
      dense(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = product[j];
    }
  }
  CHECK((dense - dense.transpose()).norm() < 1e-5 * dense.norm());
  const Eigen::VectorXd expected = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(dense).eigenvalues();
  const ExtremeEigenvalues found = extreme_eigenvalues(hessian);
  CHECK(found.converged);
  CHECK(found.largest.value == Approx(expected.maxCoeff()).epsilon(1e-4));
  CHECK(found.smallest.value == Approx(expected.minCoeff()).margin(1e-3 * expected.maxCoeff()));
}

TEST_CASE("a run that cannot be measured is named, and the others are measured") {
  const TemporaryFolder folder;
  const Json doc = document(R"({"type": "hessian", "samples": 100, "only": ["regime=SB,regime=LB,seed=1"],
                                "temperature": {"set": "none"}, "density": {"probes": 0}})");
  run(doc, folder / "a");
  fs::remove(folder / "a/runs/SB/seed-1" / checkpoint_file);
  CHECK(error_of([&] { run(doc, folder / "a"); }).find("SB seed 1: is not measured: ") != std::string::npos);
  const Json numbers = parse_json(read_file(folder / "a" / analysis_file), "record")["numbers"];
  CHECK(numbers.contains("LB: largest eigenvalue, mean over seeds"));
  CHECK(!numbers.contains("SB: largest eigenvalue, mean over seeds"));
}

TEST_CASE("the largest eigenvalue of every run, with batch normalisation folded") {
  const TemporaryFolder folder;
  const std::string model = R"({"model": {"type": "sequential", "hidden": null, "layers": [
    {"type": "conv2d", "out_channels": 3, "kernel": 3, "stride": 4}, {"type": "batch_norm"}, {"type": "relu"},
    {"type": "flatten"}, {"type": "linear"}]}, "batch": {"ghost_size": 16}})";
  const Json record =
      run(document(R"({"type": "hessian", "samples": 100, "pass": 64, "density": {"steps": 20},
                       "only": ["regime=SB", "regime=LB"]})", model),
          folder / "a");
  const Panel panel = figure(folder / "a", "largest_eigenvalue").panels[0];
  REQUIRE(panel.series.size() == 4);  // a mean and the seeds of each regime
  CHECK(panel.x.names == std::vector<std::string>{"SB", "LB"});
  for (const std::string regime : {"SB", "LB"}) {
    const double mean = record["numbers"][regime + ": largest eigenvalue, mean over seeds"];
    CHECK(mean > 0);
    CHECK(record["numbers"][regime + ": largest residual"].get<double>() < 0.01 * mean);
    CHECK(record["numbers"][regime + ": smallest eigenvalue, mean over seeds"].get<double>() < mean);
    CHECK(record["numbers"][regime + ": temperature, mean over seeds"].get<double>() > 0);
  }
  const Panel density = figure(folder / "a", "density").panels[0];
  for (const Series& of_regime : density.series) {
    double integral = 0;
    for (size_t i = 1; i < of_regime.x.size(); ++i)
      integral += of_regime.y[i] * (of_regime.x[i] - of_regime.x[i - 1]);
    CHECK(integral == Approx(1).epsilon(0.05));
  }
}
