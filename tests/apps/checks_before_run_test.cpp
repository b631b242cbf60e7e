// Problems of a run's noise, batch sizes and images are found before its first step.
#include <noisysgd/apps/trainer.h>
#include "tests/apps/tiny_suite.h"
#include "tests/catch.h"
#include "tests/data/bytes.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// The message of a refusal, without the place at its beginning.
template <class Action>
std::string reason_of(Action&& action) {
  const std::string message = error_of(action), place = "test: ";
  if (message == "no error was thrown") return message;
  INFO(message);
  REQUIRE(message.starts_with(place));
  return message.substr(place.size());
}

}  // namespace

TEST_CASE("noise is refused if no batch of the run is larger than small_batch") {
  const std::string name = GENERATE("diagonal_fisher", "full_fisher", "block_fisher", "unit_fisher", "position_fisher",
                                    "kfac", "fisher_trace", "label");
  INFO(name);
  Context context({}, 1);
  const std::string batch_of_32 = "{\"size\": 32}";
  const auto check = [&](const std::string& noise, const std::string& batch) {
    const Experiment experiment = experiment_with({"regimes=[]", "noise=" + noise, "batch=" + batch});
    const Regime& regime = experiment.regimes.at(0);
    make_checked_model(context, regime, *DataCache().get(regime), {});
  };
  const auto refused = [&](const std::string& noise, const std::string& batch) {
    return reason_of([&] { check(noise, batch); });
  };
  const std::string type = "{\"type\": \"" + name + "\"",
                    message =
                        "noise.small_batch: must be below the batch's 32 images: otherwise there is no noise to add";
  CHECK(refused(type + "}", batch_of_32) == message);  // its default is 128
  CHECK(refused(type + ", \"small_batch\": 32}", batch_of_32) == message);
  CHECK_NOTHROW(check(type + ", \"small_batch\": 31}", batch_of_32));
  CHECK_NOTHROW(check(type + ", \"large_batch\": 4096}", batch_of_32));  // whatever the batch
  CHECK_NOTHROW(check(type + ", \"stop_fraction\": 0}", batch_of_32));
  CHECK(contains(refused(type + ", \"small_batch\": 100}", "{\"size\": 4096}"), "96 images"));
  CHECK_NOTHROW(check(type + ", \"small_batch\": 64}", R"({"size": 32, "change": [{"epochs": 1, "size": 96}]})"));
  CHECK_NOTHROW(check(R"({"type": "isotropic", "sigma": 1})", batch_of_32));
}

TEST_CASE("problems that would stop a run at a later step are found before the first one") {
  Context context({}, 1);
  const std::string accepted = "no error was thrown";
  const auto refused = [&](const std::string& noise, const std::vector<std::string>& more = {}) {
    std::vector<std::string> changes{"regimes=[]", "batch={\"size\": 64, \"ghost_size\": 32}", "noise=" + noise};
    changes.insert(changes.end(), more.begin(), more.end());
    const Regime regime = experiment_with(changes).regimes.at(0);
    return reason_of([&] { make_checked_model(context, regime, *DataCache().get(regime), {}); });
  };
  const std::string label = R"({"type": "label", "small_batch": 8, "match_trace": 8)";
  CHECK(refused(label + "}") == "noise.match_trace: the trace of 'label' is not known before it is drawn");
  CHECK(refused(label + R"(, "stop_fraction": 0})") == accepted);  // no step has noise
  CHECK(refused(R"({"type": "kfac", "small_batch": 8, "match_trace": 8})") == accepted);
  CHECK(refused(R"({"type": "fisher_trace", "small_batch": 8, "match_trace": 8})", {"fisher.refresh_every=2"}) ==
        accepted);
  CHECK(refused(R"({"type": "isotropic", "sigma": 1, "match_trace": 64})") ==
        "noise.match_trace: must be below the batch's 64 images: otherwise there is no noise to add");
  CHECK(refused(R"({"type": "full_fisher", "small_batch": 8, "signs": "ghost"})") ==
        "noise.signs: \"ghost\" needs ghost batch normalisation in the network");

  // Of 96 images the second batch of an epoch has 32, which is a single ghost batch.
  const std::string message =
      "fisher.batch_norm: \"ghost_variance\" needs two or more whole ghost batches of 32, not 32 samples";
  const std::string diagonal = R"({"type": "diagonal_fisher", "small_batch": 8, "stop_fraction": )";
  const std::string ghosts = "fisher.batch_norm=ghost_variance";
  CHECK(refused(diagonal + "1}", {ghosts}) == message);
  CHECK(refused(diagonal + "0.25}", {ghosts}) == accepted);  // only the first step has noise
  CHECK(refused(diagonal + "1}", {ghosts, "fisher.refresh_every=2"}) == accepted);
  CHECK(refused(diagonal + "1}", {ghosts, "batch.drop_last=true"}) == accepted);
  const std::vector<std::string> logged{ghosts, "logging={\"per_layer\": true, \"every_steps\": 2}"};
  CHECK(refused(R"({"type": "none"})", logged) == message);
  CHECK(refused(R"({"type": "none"})", {ghosts}) == accepted);
}

TEST_CASE("batch sizes and micro-batches that a layer cannot normalise are refused") {
  Context context({}, 1);
  const std::string accepted = "no error was thrown";
  const auto refused = [&](const std::string& ghosts, const std::string& batch,
                           const std::vector<std::string>& more = {}) {
    std::vector<std::string> changes{
        "regimes=[]", "batch=" + batch,
        R"(model={"type": "sequential", "layers": [{"type": "flatten"}, )" + ghosts + R"(, {"type": "linear"}]})"};
    changes.insert(changes.end(), more.begin(), more.end());
    const Regime regime = experiment_with(changes).regimes.at(0);
    return reason_of([&] { make_checked_model(context, regime, *DataCache().get(regime), {}); });
  };
  const auto norms = [](const std::string& a, const std::string& b) {
    return R"({"type": "batch_norm", "ghost_size": )" + a + R"(}, {"type": "batch_norm", "ghost_size": )" + b + "}";
  };
  CHECK(refused(norms("4", "null"), R"({"size": 8, "micro": 4})") ==
        "batch.micro: batch_norm sees micro-batches of 4, which would change what it normalises over; set "
        "batch.ghost_size to a divisor of it");
  CHECK(refused(norms("4", "6"), R"({"size": 24, "micro": 4})") ==
        "batch.micro: batch_norm sees micro-batches of 4, which are no multiple of the ghost size 12; set "
        "batch.ghost_size to a divisor of it");
  CHECK(refused(norms("4", "6"), R"({"size": 24, "micro": 12})") == accepted);
  CHECK(refused(norms("4", "6"), R"({"size": 88})") == accepted);  // of the last 8 images all layers take 4

  // Of 96 images the second batch has 32: a single ghost batch, and its sign minus the mean is 0.
  const std::string ghost = R"({"type": "batch_norm"})", batch = R"({"size": 64, "ghost_size": 32)",
                    centered = R"(noise={"type": "full_fisher", "signs": "ghost", "centered": true, "small_batch": 8,
                                         "stop_fraction": 1})";
  CHECK(refused(ghost, batch + "}", {centered}) ==
        "noise.centered: a batch of 32 is a single ghost batch, and one sign minus its mean is 0; change "
        "batch.size or set batch.drop_last");
  CHECK(refused(ghost, batch + R"(, "drop_last": true})", {centered}) == accepted);
  CHECK(refused(norms("4", "null"), R"({"size": 64})", {centered}) ==
        "noise.signs: \"ghost\" needs ghost batch normalisation in the network");
  CHECK(refused(norms("6", "6"), R"({"size": 48, "ghost_size": 4})",
                {"fisher.batch_norm=ghost_variance", R"(noise={"type": "diagonal_fisher", "small_batch": 4})"}) ==
        "fisher.batch_norm: \"ghost_variance\" needs independent ghost batches of 4, batch.ghost_size; a batch_norm of "
        "this network couples more samples");
  // Batches of 70 are 64 samples, which is small_batch: no noise is added.
  CHECK(refused(ghost, R"({"size": 70, "ghost_size": 32})",
                {R"(noise={"type": "diagonal_fisher", "small_batch": 64})"}) ==
        "noise.small_batch: must be below the batch's 64 images: otherwise there is no noise to add");
}

TEST_CASE("images that cannot be normalised are refused when they are loaded") {
  const TemporaryFolder folder;
  for (const std::string split : {"train", "t10k"}) {
    testing::put(folder / (split + "-images-idx3-ubyte"), testing::idx_bytes({2, 3, 3}, std::vector<uint8_t>(18, 7)));
    testing::put(folder / (split + "-labels-idx1-ubyte"), testing::idx_bytes({2}, {0, 1}));
  }
  Json document = parse_config(tiny_suite, "test");
  document["data"] = {{"type", "idx"}, {"root", folder.path().string()}};
  const Regime regime = read_experiment(document, "test", {}).regimes.at(0);
  CHECK(error_of([&] { DataCache().get(regime); }).starts_with("test: regime \"SB\": channel 0 is constant"));
}
