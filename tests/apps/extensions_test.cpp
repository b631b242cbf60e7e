// Types that a program adds by its Extensions work in runs as built-in types do.
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <thread>

#include <noisysgd/apps/make_model.h>
#include <noisysgd/apps/trainer.h>
#include "docs/examples/extending/cooldown.h"
#include "docs/examples/extending/gratings.h"
#include "docs/examples/extending/lion.h"
#include "docs/examples/extending/squared_error.h"
#include "docs/examples/extending/swish.h"
#include "docs/examples/extending/temporal_noise.h"
#include "tests/apps/short_training.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// v = mu v + g + eps, theta -= alpha v, in loops over the processor's memory.
class HeavyBall : public Optimizer {
 public:
  HeavyBall(double momentum, std::function<void()> after_step)
      : momentum_(static_cast<float>(momentum)), after_step_(std::move(after_step)) {}

  void begin(Context& context, const ParameterSet& parameters) override {
    context_ = &context;
    parameters_ = &parameters;
    velocity_ = Block(context, parameters);
  }
  void step(const OptimizerStep& step) override {
    if (step.halted.read() != 0) return;
    for (const Parameter* parameter : parameters_->list()) {
      const int64_t n = parameter->shape.elements();
      std::vector<float> noise(static_cast<size_t>(n));
      if (!step.noise.empty()) {
        const kernels::NoiseDraw draw{
            n, step.gradient.at(*parameter), step.noise[parameter->index], step.seed, step.step, parameter->index};
        kernels::draw_noise(context_->queue, draw, noise.data());
      }
      for (int64_t i = 0; i < n; ++i) {
        float& v = velocity_.at(*parameter)[i];
        const float gradient = step.gradient.at(*parameter)[i] / static_cast<float>(step.batch);
        v = momentum_ * v + gradient * static_cast<float>(step.gradient_factor.read()) + noise[i];
        parameter->value.f32()[i] -= step.learning_rate.read() * v;
      }
    }
    after_step_();
  }
  void visit_state(StateVisitor& visitor) const override { visit_block(visitor, "ball.", *parameters_, velocity_); }

 private:
  float momentum_;
  std::function<void()> after_step_;
  Context* context_ = nullptr;
  const ParameterSet* parameters_ = nullptr;
  Block velocity_;
};

Extensions with_heavy_ball(const std::function<void()>& after_step = [] {}) {
  Extensions extensions;
  const auto read = [=](const ConfigReader& json) {
    return std::make_unique<HeavyBall>(json.number("friction", {.default_value = 0.5}), after_step);
  };
  extensions.optimizers.add("heavy_ball", read, 0.02);
  return extensions;
}

// Noise whose variance is the step's number, which it reads on the host.
class CountingNoise : public NoiseStructure {
 public:
  explicit CountingNoise(bool says_so) : says_so_(says_so) {}
  NoiseCapabilities capabilities() const override { return {.needs_host = says_so_}; }
  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    for (kernels::NoiseField& field : fields) field.variance.constant = static_cast<float>(step.step.value() + 1);
  }

 private:
  bool says_so_;
};

}  // namespace

TEST_CASE("a user-defined optimizer follows its formula under noise, clipping and micro-batches") {
  const TemporaryFolder folder;
  const Extensions extensions = with_heavy_ball();
  const auto train_by = [&](const char* optimizer) {
    const std::string settings = fmt::format(
        R"({{"optimizer": {}, "batch": {{"size": 64, "ghost_size": 32, "micro": 32}},
             "noise": {{"type": "diagonal_fisher", "small_batch": 16}}}})",
        optimizer);
    const Regime regime = regime_of(small_residual, settings, extensions);
    return train_on({}, regime, folder.path() / std::to_string(regime.optimizer.type.size()), extensions).tensors;
  };
  const auto own = train_by(R"({"type": "heavy_ball", "clip_norm": 0.5})");
  const auto built_in = train_by(R"({"type": "sgd", "momentum": 0.5, "learning_rate": 0.02, "clip_norm": 0.5})");
  REQUIRE(own.size() == built_in.size());
  for (const auto& [name, values] : built_in) {
    INFO(name);
    const std::string own_name = name.starts_with("momentum.") ? "ball" + name.substr(8) : name;
    CHECK(compare(own.at(own_name), to_double(values), {.terms = 64, .condition = 10}) == "");
  }
}

TEST_CASE("the state of a user-defined optimizer is in the checkpoint, and an interrupted run gives the same bits") {
  const TemporaryFolder folder;
  const Regime regime =
      regime_of(small_mlp, R"({"optimizer": {"type": "heavy_ball", "friction": 0.9}})", with_heavy_ball());
  const Trained whole = train_on({}, regime, folder.path() / "whole", with_heavy_ball());
  {
    Interrupts interrupts;
    int steps = 0;
    const Extensions interrupting = with_heavy_ball([&] {
      if (++steps != 4) return;
      ::kill(::getpid(), SIGTERM);
      while (interrupts.received() == 0) std::this_thread::yield();
    });
    Context context({}, 1);
    DataCache data;
    REQUIRE(train(context, *data.get(regime),
                  {regime, interrupting, 7, folder / "broken", Progress::Mode::quiet, &interrupts}) ==
            RunOutcome::interrupted);
    CHECK(steps == 4);
  }
  const Trained resumed = train_on({}, regime, folder.path() / "broken", with_heavy_ball());
  CHECK(resumed.tensors == whole.tensors);
  CHECK(resumed.metrics == whole.metrics);
  CHECK(whole.tensors.contains("ball.linear1.weight"));
}

TEST_CASE("a user-defined optimizer has its own keys and its own learning rate") {
  const auto read = [](const char* optimizer) {
    return read_experiment(parse_config(fmt::format(R"({{"optimizer": {}}})", optimizer), "test"), "test",
                           with_heavy_ball())
        .regimes.at(0);
  };
  const Regime regime = read(R"({"type": "heavy_ball"})");
  CHECK(regime.optimizer.learning_rate == 0.02);
  CHECK(regime.effective.at("optimizer").at("friction") == 0.5);
  CHECK(contains(error_of([&] { read(R"({"type": "heavy_ball", "nesterov": true})"); }), "$.optimizer.nesterov"));
  CHECK(contains(error_of([&] { read(R"({"type": "heavy_bal"})"); }), "heavy_ball"));
  CHECK(read("{}").optimizer.learning_rate == 0.1);
}

TEST_CASE("noise with state has its own state in every run and gives the same bits after an interrupt") {
  const TemporaryFolder folder;
  const auto with_state = [](const std::function<void()>& after_step = [] {}) {
    Extensions extensions = with_heavy_ball(after_step);
    extensions.noises.add("temporal", TemporalNoise::read);
    return extensions;
  };
  const Regime regime = regime_of(small_mlp, R"({"optimizer": {"type": "heavy_ball", "friction": 0.9},
    "noise": {"type": "temporal", "small_batch": 16, "stop_fraction": 1}})", with_state());
  Context context({}, 1);
  DataCache data;
  const auto run = [&](uint64_t seed, const std::string& name, const Extensions& extensions, Interrupts* interrupts) {
    return train(context, *data.get(regime), {regime, extensions, seed, folder / name, Progress::Mode::quiet, interrupts});
  };
  // One after the other from the same regime, as a suite makes them.
  const Extensions extensions = with_state();
  for (const uint64_t seed : {1, 2}) run(seed, fmt::format("suite{}", seed), extensions, nullptr);
  run(2, "alone", with_state(), nullptr);
  const auto alone = tensors_of(folder / "alone");
  CHECK(tensors_of(folder / "suite2") == alone);
  CHECK(alone.at("temporal.variance.linear1.weight") != std::vector<float>(alone.at("linear1.weight").size()));
  {
    Interrupts interrupts;
    int steps = 0;
    const Extensions interrupting = with_state([&] {
      if (++steps != 4) return;
      ::kill(::getpid(), SIGTERM);
      while (interrupts.received() == 0) std::this_thread::yield();
    });
    REQUIRE(run(2, "broken", interrupting, &interrupts) == RunOutcome::interrupted);
  }
  run(2, "broken", with_state(), nullptr);
  CHECK(tensors_of(folder / "broken") == alone);
  CHECK(metrics_of(folder / "broken") == metrics_of(folder / "alone"));
}

TEST_CASE("noise that reads the step's number on the host must declare it, on the CPU too") {
  Extensions extensions;
  for (const bool says_so : {false, true})
    extensions.noises.add(says_so ? "open" : "silent",
                          [=](const ConfigReader&) { return std::make_unique<CountingNoise>(says_so); });
  const TemporaryFolder folder;
  const auto run_with = [&](const std::string& type) {
    const Json settings{{"noise", {{"type", type}, {"stop_fraction", 1}}}, {"logging", {{"every_steps", 1}}}};
    const Regime regime = regime_of(small_lenet, settings.dump(), extensions);
    Context context({}, 1);
    DataCache data;
    train(context, *data.get(regime), {regime, extensions, 7, folder / type, Progress::Mode::quiet});
  };
  CHECK(contains(error_of([&] { run_with("silent"); }), "set NoiseCapabilities::needs_host"));
  run_with("open");
  std::vector<double> norms;  // noise with the step's number as its variance
  for (const Json& line : metrics_of(folder / "open"))
    if (line.contains("noise_norm")) norms.push_back(line.at("noise_norm"));
  REQUIRE(norms.size() == 9);
  for (size_t i = 0; i < norms.size(); ++i)
    CHECK(norms[i] == Approx(norms[0] * std::sqrt(static_cast<double>(i + 1))).epsilon(0.15));
}

namespace {

// The built-in loss in double precision, as a user would write it.
class OwnCrossEntropy : public SampleLoss {
 public:
  void describe(Graph& graph, const std::string& scores) const override {
    graph.add({"loss", "own", {scores}, Shape{}});
  }

 private:
  double sample_loss(std::span<const float> z, int32_t label, Targets, std::span<float> gradient) const override {
    double sum = 0;
    for (const float score : z) sum += std::exp(double{score});
    for (size_t k = 0; k < gradient.size(); ++k)
      gradient[k] = static_cast<float>(std::exp(double{z[k]}) / sum - (static_cast<int32_t>(k) == label ? 1 : 0));
    return std::log(sum) - z[static_cast<size_t>(label)];
  }
};

Extensions with_own_loss() {
  Extensions extensions;
  extensions.losses.add("own", [](const ConfigReader&) { return std::make_unique<OwnCrossEntropy>(); });
  return extensions;
}

}  // namespace

TEST_CASE("a user-defined loss follows its formula under weighted losses and micro-batches") {
  const TemporaryFolder folder;
  const Extensions extensions = with_own_loss();
  const auto train_by = [&](const std::string& loss, const std::string& noise) {
    const std::string settings = fmt::format(
        R"({{"loss": {{"type": "{}"}}, "batch": {{"size": 64, "ghost_size": 32, "micro": 32}},
             "noise": {{"type": "{}", "small_batch": 16, "stop_fraction": 1}}}})",
        loss, noise);
    return train_on({}, regime_of(small_residual, settings, extensions), folder.path() / (loss + noise), extensions);
  };
  for (const char* noise : {"full_fisher", "diagonal_fisher"}) {
    const Trained own = train_by("own", noise), built_in = train_by("softmax_cross_entropy", noise);
    for (const auto& [name, values] : built_in.tensors) {
      INFO(noise << " " << name);
      CHECK(compare(own.tensors.at(name), to_double(values), {.terms = 64, .condition = 100}) == "");
    }
    for (const char* key : {"test_loss", "test_accuracy"})
      CHECK(own.summary.at(key).get<double>() == Approx(built_in.summary.at(key).get<double>()).epsilon(1e-4));
  }
}

TEST_CASE("settings that draw labels are refused before the run if the loss gives no probabilities") {
  const Extensions extensions = with_own_loss();
  const char* const loss = R"("loss": {"type": "own"})";
  const auto regime_with = [&](const std::string& more) {
    return regime_of(small_mlp, fmt::format("{{{}, {}}}", loss, more), extensions);
  };
  CHECK(contains(error_of([&] { regime_with(R"("fisher": {"kind": "true"})"); }),
                 "$.fisher.kind: \"true\" draws labels from the predicted probabilities, and this loss.type has none"));
  for (const char* labels : {"uniform", "model"}) {
    const Regime regime = regime_with(fmt::format(
        R"("noise": {{"type": "label", "labels": "{}", "small_batch": 16, "stop_fraction": 1}})", labels));
    Context context({}, 1);
    DataCache data;
    CHECK(error_of([&] { make_checked_model(context, regime, *data.get(regime), extensions); }) ==
          "test: noise.type: \"label\" draws labels from the predicted probabilities, and this loss.type has none");
  }
  CHECK(contains(error_of([&] { regime_of(small_mlp, R"({"loss": {"type": "owl"}})", extensions); }),
                 R"($.loss.type: expected one of "own", "softmax_cross_entropy", got text "owl"; did you mean "own"?)"));
  CHECK(contains(error_of([&] { regime_of(small_mlp, R"({"loss": {"type": "own", "label_smoothing": 0.1}})", extensions); }),
                 "$.loss.label_smoothing: unknown key"));
}

TEST_CASE("the types of the example train together, and an interrupted run gives the same bits") {
  const TemporaryFolder folder;
  int steps = 0, stop_at = 0;
  class StoppingLion : public Lion {
   public:
    explicit StoppingLion(std::function<void()> after_step) : Lion(0.9, 0.99, 0.01), after_step_(std::move(after_step)) {}
    void step(const OptimizerStep& step) override {
      Lion::step(step);
      after_step_();
    }

   private:
    std::function<void()> after_step_;
  };
  Interrupts interrupts;
  Extensions extensions;
  extensions.layers.add("swish", Swish::read);
  extensions.noises.add("temporal", TemporalNoise::read);
  extensions.optimizers.add("lion", [&](const ConfigReader&) {
    return std::make_unique<StoppingLion>([&] {
      if (++steps != stop_at) return;
      ::kill(::getpid(), SIGTERM);
      while (interrupts.received() == 0) std::this_thread::yield();
    });
  }, 0.003);
  extensions.schedules.add("cooldown", Cooldown::read);
  extensions.datasets.add("gratings", Gratings::read);
  extensions.losses.add("squared_error", SquaredError::read);
  const Regime regime = regime_of(
      R"({"type": "sequential", "layers": [{"type": "conv2d", "out_channels": 8, "kernel": 5, "stride": 2},
         {"type": "swish"}, {"type": "flatten"}, {"type": "linear"}]})",
      R"({"data": {"type": "gratings", "directions": 3, "noise": 0.2, "train_limit": 256}, "loss": {"type": "squared_error"},
          "optimizer": {"type": "lion"}, "schedule": {"type": "cooldown", "length": 2}, "epochs": 4,
          "logging": {"every_steps": 1},
          "noise": {"type": "temporal", "small_batch": 16, "stop_fraction": 0.5}})", extensions);
  const Trained whole = train_on({}, regime, folder.path() / "whole", extensions);
  CHECK(whole.summary.at("test_accuracy") > 0.8);
  CHECK(whole.tensors.contains("lion.swish1.weight"));
  std::vector<double> rates;
  for (const Json& line : whole.metrics)
    if (line.contains("learning_rate")) rates.push_back(line.at("learning_rate"));
  REQUIRE(rates.size() == 16);  // four epochs of four steps
  for (size_t step = 0; step < 16; ++step)
    CHECK(rates[step] == Approx(0.003 * std::min(1.0, (4 - static_cast<double>(step) / 4) / 2)));
  steps = 0;
  stop_at = 6;
  {
    Context context({}, 1);
    DataCache data;
    REQUIRE(train(context, *data.get(regime),
                  {regime, extensions, 7, folder / "broken", Progress::Mode::quiet, &interrupts}) ==
            RunOutcome::interrupted);
  }
  const Trained resumed = train_on({}, regime, folder.path() / "broken", extensions);
  CHECK(resumed.tensors == whole.tensors);
  CHECK(resumed.metrics == whole.metrics);
}
