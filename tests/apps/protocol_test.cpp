// The training protocol of Section 5.1 and Appendix E.1, step by step against values computed by hand.
#include <algorithm>
#include <cmath>

#include <noisysgd/apps/trainer.h>
#include <noisysgd/core/safetensors.h>
#include <noisysgd/layers/models/resnet.h>
#include <noisysgd/optim/sgd.h>
#include "tests/apps/run_files.h"
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

using Values = std::map<std::string, std::vector<float>>;

Values values_of(const Model& model, const Sums& sums) {
  Values values;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    values[name] = {tensor.f32(), tensor.f32() + tensor.elements()};
  };
  for (const Parameter* parameter : model.parameters()) {
    add(parameter->name, parameter->value);
    add("diag(F) of " + parameter->name, sums.second_moment.of(*parameter));
  }
  for (const Buffer* buffer : model.buffers()) add(buffer->name, buffer->value);
  return values;
}

// Three noisy steps of a small residual network with the given batch and micro-batch sizes.
Values three_steps(int64_t side, int64_t samples, int64_t ghost_size, int64_t micro) {
  const int64_t classes = 5;
  const Shape image{side, side, 3};
  Context context({}, 1);
  Model model(context, resnet(image, classes, {.depth = 8, .ghost_size = ghost_size}), classes);
  model.parameter_set().initialise(3);
  const NoiseRegistry registry = NoiseRegistry::builtin();
  Config config(Json{{"type", "diagonal_fisher"}, {"small_batch", ghost_size}});
  Noise noise = Noise::read(config.root(), registry);
  Sgd sgd({.momentum = 0.9, .weight_decay = 1e-4});
  Step step(context, model, noise, sgd, nullptr, {.micro = micro, .seed = 4});
  step.begin_noise();
  for (uint32_t number = 0; number < 3; ++number) {
    const Batch batch = random_batch(context, image, samples, classes, 10 * number);
    const auto rows = [&](const StepNumbers&, int64_t begin, int64_t count) {
      REQUIRE(count == micro);
      return batch.rows(begin, begin + count);
    };
    step.run({.values = {.step = number, .learning_rate = 0.05f}, .samples = samples, .noise = true}, rows);
  }
  return values_of(model, step.sums());
}

// A small network on few images, every step logged.
Regime plain_regime(const std::vector<std::string>& assignments) {
  Json document = parse_config(R"({
    "data": {"type": "synthetic", "train_size": 32, "test_size": 8}, "logging": {"every_steps": 1},
    "model": {"type": "sequential", "layers": [{"type": "flatten"}, {"type": "batch_norm"}, {"type": "linear"}]},
    "batch": {"size": 16}, "epochs": 1, "optimizer": {"learning_rate": 0.05}})",
                               "test");
  for (const std::string& assignment : assignments) apply_override(document, assignment);
  return read_experiment(document, "test", {}).regimes.at(0);
}

void run(const Regime& regime, const std::filesystem::path& folder) {
  Context context({}, 1);
  DataCache data;
  const Extensions extensions;
  REQUIRE(train(context, *data.get(regime), {regime, extensions, 7, folder, Progress::Mode::quiet}) ==
          RunOutcome::finished);
}

// One number per logged training step.
std::vector<double> logged(const std::filesystem::path& folder, const char* key) {
  std::vector<double> values;
  for (const Json& entry : metrics_of(folder))
    if (entry.at("split") == "train") values.push_back(entry.at(key));
  return values;
}

Json final_state(const std::filesystem::path& folder) {
  return Json::parse(SafetensorsFile(folder / "checkpoint.safetensors").metadata().at("state"));
}

}  // namespace

TEST_CASE("micro-batches of one ghost group give the whole batch's parameters, diag(F) and running statistics") {
  struct {
    int64_t side, samples, ghost_size, micro;
  } const cuts[] = {{4, 4096, 128, 128}, {4, 4096, 128, 1024}, {8, 64, 8, 8}};  // the first: M_L as M_L/M_S times M_S
  for (const auto& [side, samples, ghost_size, micro] : cuts) {
    const Values whole = three_steps(side, samples, ghost_size, samples),
                 cut = three_steps(side, samples, ghost_size, micro);
    for (const auto& [name, values] : whole) {
      INFO(name << ": " << samples << " samples in micro-batches of " << micro);
      CHECK(relative_error(cut.at(name), to_double(values)) <= 1e-6);
    }
  }
}

TEST_CASE("running statistics move ghost by ghost, with the unbiased variance") {
  const int64_t micro = GENERATE(4, 2);
  Context context;
  Model model(context,
              network_from(R"({"type": "sequential", "layers": [
    {"type": "flatten"}, {"type": "batch_norm", "ghost_size": 2}, {"type": "linear"}]})",
                           {1, 1, 1}, 2),
              2);
  model.parameter_set().initialise(1);
  const Batch batch{Tensor(context, {4, 1, 1, 1}), Tensor(context, {4}, DType::i32)};
  const float pixels[] = {1, 3, 5, 9};  // means 2 and 7, unbiased variances 2 and 8
  std::copy_n(pixels, 4, batch.images.f32());
  std::fill_n(batch.labels.data<int32_t>(), 4, 1);
  const BackwardJob job{.into = {.gradient = Block(context, model.parameter_set())}};
  for (int64_t begin = 0; begin < 4; begin += micro)
    model.accumulate(batch.rows(begin, begin + micro), {.samples = {.offset = begin}}, {&job, 1});
  CHECK(model.buffers().at(0)->value.f32()[0] == Approx(0.9 * (0.1 * 2) + 0.1 * 7));
  CHECK(model.buffers().at(1)->value.f32()[0] == Approx(0.9 * (0.9 + 0.1 * 2) + 0.1 * 8));
}

TEST_CASE("the incomplete last ghost group of an epoch is dropped") {
  const TemporaryFolder folder;
  // 27 images: a batch of 16, and of the other 11 two groups of 4.
  run(plain_regime({"data.train_size=27", "batch.ghost_size=4"}), folder.path());
  CHECK(final_state(folder.path()).at("last_epoch_sums").at("samples") == 24);
  CHECK(final_state(folder.path()).at("step") == 2);
}

TEST_CASE("the rate of every step: linear warm-up, then milestones") {
  const TemporaryFolder folder;
  run(plain_regime({"epochs=8", "optimizer.learning_rate=0.8",
                    R"(schedule={"type": "step", "milestones": [4, 6], "warmup": {"epochs": 2}})"}),
      folder.path());
  const double expected[] = {0.2,  0.4,  0.6,  0.8,  0.8,   0.8,   0.8,   0.8,
                             0.08, 0.08, 0.08, 0.08, 0.008, 0.008, 0.008, 0.008};
  const std::vector<double> rates = logged(folder.path(), "learning_rate");
  REQUIRE(rates.size() == 16);
  for (size_t i = 0; i < 16; ++i) CHECK(rates[i] == Approx(expected[i]));
}

TEST_CASE("a last batch of one sample, which has no variance, is left out if it would be normalised") {
  const TemporaryFolder folder;
  // 33 images: two batches of 16, and one of 1 that only the network without batch norm trains on.
  run(plain_regime({"data.train_size=33"}), folder.path() / "norm");
  CHECK(final_state(folder.path() / "norm").at("last_epoch_sums").at("samples") == 32);
  CHECK(final_state(folder.path() / "norm").at("step") == 2);
  run(plain_regime({"data.train_size=33", R"(model={"type": "mlp", "hidden": [4]})"}), folder.path() / "plain");
  CHECK(final_state(folder.path() / "plain").at("last_epoch_sums").at("samples") == 33);
  CHECK(final_state(folder.path() / "plain").at("step") == 3);
}

TEST_CASE("the loss with label smoothing is the mixture of the losses without and with complete smoothing") {
  const TemporaryFolder folder;
  std::map<std::string, double> first_loss;
  for (const std::string smoothing : {"0", "0.25", "0.5"}) {
    run(plain_regime({"loss.label_smoothing=" + smoothing}), folder.path() / smoothing);
    first_loss[smoothing] = logged(folder.path() / smoothing, "loss").front();
  }
  CHECK(first_loss["0"] != first_loss["0.5"]);
  CHECK(first_loss["0.25"] == Approx(0.5 * (first_loss["0"] + first_loss["0.5"])).epsilon(1e-6));
}

// At a rate that changes no weight the loss shows which images a step has used.
const std::string no_rate = "optimizer.learning_rate=1e-30", plain_model = R"(model={"type": "mlp", "hidden": [4]})";

TEST_CASE("every epoch has its own order, and every step its own images") {
  const TemporaryFolder folder;
  run(plain_regime({"epochs=2", no_rate, plain_model}), folder.path());
  const std::vector<double> losses = logged(folder.path(), "loss");
  REQUIRE(losses.size() == 4);
  CHECK(losses[0] != losses[1]);
  CHECK(losses[0] != losses[2]);
  CHECK(losses[0] + losses[1] == Approx(losses[2] + losses[3]).epsilon(1e-6));  // of all images in either epoch
}

TEST_CASE("micro-batches and evaluation batches that do not divide the images see each of them once") {
  const TemporaryFolder folder;
  std::map<std::string, Json> states;
  // 27 images: batches of 16 and 11, in micro-batches of 8 and 8, 8 and 3.
  for (const std::string micro : {"null", "8"}) {
    run(plain_regime({"data.train_size=27", no_rate, plain_model, "batch.micro=" + micro,
                      "evaluation.batch=" + std::string(micro == "8" ? "3" : "8")}),
        folder.path() / micro);
    states[micro] = final_state(folder.path() / micro);
    CHECK(states[micro].at("last_epoch_sums").at("samples") == 27);
  }
  const auto loss = [&](const char* micro) { return states[micro].at("last_epoch_sums").at("loss").get<double>(); };
  CHECK(loss("8") == Approx(loss("null")).epsilon(1e-6));
  CHECK(states["8"].at("last_epoch_sums").at("correct") == states["null"].at("last_epoch_sums").at("correct"));
  CHECK(states["8"].at("test_loss").get<double>() ==
        Approx(states["null"].at("test_loss").get<double>()).epsilon(1e-6));
}

TEST_CASE("the best epoch is the first of the highest accuracy") {
  const TemporaryFolder folder;
  run(plain_regime({"epochs=12", "optimizer.learning_rate=0.5", "data.test_size=40"}), folder.path());
  double best = 0, last = 0;
  int64_t best_epoch = 0;
  for (const Json& entry : metrics_of(folder.path())) {
    if (entry.at("split") != "test") continue;
    last = entry.at("accuracy");
    if (last > best) best_epoch = entry.at("epoch");
    best = std::max(best, last);
  }
  REQUIRE(last < best);
  CHECK(final_state(folder.path()).at("best_accuracy") == best);
  CHECK(final_state(folder.path()).at("best_epoch") == best_epoch);
}

TEST_CASE("the average of the weights starts at the initial weights and includes every step") {
  const TemporaryFolder folder;
  const auto weights = [&](const std::string& name, std::vector<std::string> assignments, const char* tensor) {
    assignments.insert(assignments.end(), {plain_model, "batch.size=32"});  // one step each epoch
    run(plain_regime(assignments), folder.path() / name);
    return SafetensorsFile(folder.path() / name / "checkpoint.safetensors").values<float>(tensor);
  };
  const char *plain = "linear1.weight", *averaged = "average.linear1.weight";
  const auto none = weights("none", {no_rate}, plain), one = weights("one", {}, plain),
             two = weights("two", {"epochs=2"}, plain),
             average = weights("average", {"epochs=2", "optimizer.weight_average=0.75"}, averaged);
  REQUIRE(average.size() == none.size());
  double error = 0, moved = 0;
  for (size_t i = 0; i < none.size(); ++i) {
    const double expected = 0.75 * (0.75 * none[i] + 0.25 * one[i]) + 0.25 * two[i];
    error = std::max(error, std::abs(average[i] - expected));
    moved = std::max(moved, double{std::abs(two[i] - one[i])});
  }
  CHECK(error < 1e-7);  // weights below 1 in float32
  CHECK(moved > 1e-4);
}

TEST_CASE("noise is drawn in the first quarter of the epochs, and in no other") {
  const TemporaryFolder folder;
  run(plain_regime({"epochs=8", R"(noise={"type": "diagonal_fisher", "small_batch": 4})"}), folder.path());
  const std::vector<double> norms = logged(folder.path(), "noise_norm");
  REQUIRE(norms.size() == 16);
  for (size_t i = 0; i < 16; ++i) CHECK((norms[i] > 0) == (i < 4));

  // Two epochs of 8 steps, then six of 2: the first quarter of the epochs is 16 of 28 steps.
  const TemporaryFolder changed;
  run(plain_regime({"epochs=8", R"(noise={"type": "diagonal_fisher", "small_batch": 2})",
                    R"(batch.change=[{"epochs": 2, "size": 4}])"}),
      changed.path());
  const std::vector<double> over_change = logged(changed.path(), "noise_norm");
  REQUIRE(over_change.size() == 28);
  for (size_t i = 0; i < 28; ++i) CHECK((over_change[i] > 0) == (i < 16));
}

TEST_CASE("batches not larger than small_batch get no noise, but collect what later steps need") {
  // Batches of 4, which is small_batch, then of 16: 8 steps and 2.
  const auto norms = [](const std::string& noise, const std::string& fisher) {
    const TemporaryFolder folder;
    run(plain_regime({"epochs=2", plain_model, R"(batch.change=[{"epochs": 1, "size": 4}])", "fisher=" + fisher,
                      R"(noise={"small_batch": 4, "stop_fraction": 1, )" + noise + "}"}),
        folder.path());
    std::vector<Json> norms;
    for (const Json& line : metrics_of(folder.path()))
      if (line.contains("noise_norm")) norms.push_back(line.at("noise_norm"));
    REQUIRE(norms.size() == 10);
    return norms;
  };
  // Where the passes weigh the losses by the noise, its norm is not known. This noise draws on no average of diag(F).
  const std::vector<Json> weighing = norms(R"("type": "full_fisher")", R"({"refresh_every": 9})");
  for (size_t i = 0; i < 10; ++i) CHECK(weighing[i] == (i < 8 ? Json(0.0) : Json()));
  // diag(F) and K-FAC's factors, collected in steps 0 and 9.
  for (const std::vector<Json>& remembering : {norms(R"("type": "diagonal_fisher")", R"({"refresh_every": 9})"),
                                               norms(R"("type": "kfac", "refresh_every": 9)", "{}")})
    for (size_t i = 0; i < 10; ++i) CHECK((remembering[i] > 0.0) == (i >= 8));
}

TEST_CASE("a batch change trains its epochs in its own batches, at its own rate") {
  const TemporaryFolder folder;
  // 32 images: two epochs of 4 steps, then one of 2; the milestone lies in the second epoch.
  run(plain_regime({"epochs=3", R"(batch.change=[{"epochs": 2, "size": 8, "learning_rate": 0.02}])",
                    R"(schedule={"type": "step", "milestones": [1.5]})"}),
      folder.path());
  const double expected[] = {0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.002, 0.002, 0.005, 0.005};
  const std::vector<double> rates = logged(folder.path(), "learning_rate");
  REQUIRE(rates.size() == 10);
  for (size_t i = 0; i < 10; ++i) CHECK(rates[i] == Approx(expected[i]));
  CHECK(final_state(folder.path()).at("last_epoch_sums").at("samples") == 32);
}
