// What a message suggests for a key that a configuration does not have.
#include <noisysgd/core/known_keys.h>

#include <string>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/json.h>
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

const std::vector<std::string> everywhere{"epochs",
                                          "optimizer",
                                          "optimizer.type",
                                          "optimizer.learning_rate",
                                          "optimizer.weight_decay",
                                          "optimizer.momentum",
                                          "batch",
                                          "batch.size",
                                          "model",
                                          "model.type",
                                          "data",
                                          "data.type",
                                          "schedule.type",
                                          "noise.type"};

std::string suggested(const std::string& key, const std::vector<std::string>& here) {
  return key_suggestion(key, here, everywhere);
}

}  // namespace

TEST_CASE("a key gets the nearest of its object, or the one with that name in other programs") {
  const std::vector<std::string> optimizer{"type", "learning_rate", "weight_decay", "momentum"};
  for (const char* key : {"lr", "LR", "learning-rate", "learningRate", "eta", "learning_rte"})
    CHECK(suggested(key, optimizer) == "; did you mean \"learning_rate\"?");
  CHECK(suggested("wd", optimizer) == "; did you mean \"weight_decay\"?");
  CHECK(suggested("mom", optimizer) == "; did you mean \"momentum\"?");
  CHECK(suggested("bs", {"size", "micro"}) == "; did you mean \"size\"?");
}

TEST_CASE("a key that belongs to another object gets its path") {
  const std::vector<std::string> top{"epochs", "optimizer", "batch", "model", "data"};
  CHECK(suggested("lr", top) == "; did you mean \"optimizer.learning_rate\"?");
  CHECK(suggested("learning_rate", top) == "; did you mean \"optimizer.learning_rate\"?");
  CHECK(suggested("batch_size", top) == "; did you mean \"batch.size\"?");
  CHECK(suggested("weight_dcay", top) == "; did you mean \"optimizer.weight_decay\"?");
  CHECK(suggested("dataset", top) == "; did you mean \"data\"?");
}

TEST_CASE("a key that resembles nothing, or a key of many objects, gets the known keys of its object") {
  CHECK(suggested("colour", {"size", "micro"}) == "; known: \"size\", \"micro\"");
  CHECK(suggested("type", {"size", "micro"}) == "; known: \"size\", \"micro\"");
  CHECK(suggested("colour", {}).empty());
}

TEST_CASE("a configuration suggests the keys that were read anywhere in it") {
  const Config config(parse_config(R"({"lr": 0.1, "batch": {"sise": 3}, "momentum": 0.5})", "test"), "test");
  config.root().object("optimizer").number("learning_rate", {.default_value = 0.1});
  config.root().object("optimizer").number("momentum", {.default_value = 0.1});
  config.root().object("batch").integer("size", {.default_value = 1});
  CHECK(error_of([&] { config.finish(); }) ==
        "test: 3 problems\n  $.lr: unknown key; did you mean \"optimizer.learning_rate\"?\n  $.momentum: unknown key; "
        "did you mean \"optimizer.momentum\"?\n  $.batch.sise: unknown key; did you mean \"size\"?");
}
