// What a checkpoint says about its data.
#include <noisysgd/apps/data_description.h>

#include <noisysgd/apps/checkpoint.h>
#include "tests/apps/small_runs.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Json described() {
  return Json::parse(R"({"image": [3, 4, 5], "classes": 2, "class_names": ["cat", "dog"], "mean": [0.1, 0.2, 0.3],
                         "std": [0.5, 0.25, 1]})");
}

std::string error_with(const char* key, const char* value) {
  Json json = described();
  json[key] = Json::parse(value);
  return error_of([&] { DataDescription::from(json); });
}

}  // namespace

TEST_CASE("a checkpoint holds the configuration, and shape, classes and normalisation of its data") {
  const TemporaryFolder folder;
  const Regime regime = small_runs::regime_with({"epochs=1"});
  REQUIRE(small_runs::run(regime, folder.path()) == RunOutcome::finished);
  const Checkpoint checkpoint(folder / "checkpoint.safetensors");
  CHECK(checkpoint.identity().value().at("config") == regime.effective);

  const DataDescription data = checkpoint.data().value();
  const auto trained_on = DataCache().get(regime);
  CHECK(data.image == Shape{28, 28, 1});
  CHECK(data.class_names == trained_on->sets.train.class_names);
  CHECK(data.normalisation.mean == trained_on->normalisation.mean);  // to the last bit
  CHECK(data.normalisation.standard_deviation == trained_on->normalisation.standard_deviation);
}

TEST_CASE("a description of data is read as it was written") {
  CHECK(DataDescription::from(described()).json() == described());
  CHECK(DataDescription::from(described()).image == Shape{4, 5, 3});
  const Dataset set{.name = {}, .count = 1, .height = 4, .width = 5, .channels = 3, .classes = 2, .images = {},
                    .labels = {}, .class_names = {"a\nb", "c\x1b\xff"}};
  const DataDescription data = DataDescription::of(set, {{0.1, 0.2, 0.3}, {1, 1, 1}});
  CHECK(data.class_names[1] == "c\\x1b\\xff");  // can be written as JSON
  CHECK_NOTHROW(data.json().dump());
}

TEST_CASE("every problem of a description of data is named") {
  CHECK(error_with("image", "[3, 4]") == "\"image\" is no list of channels, height and width");
  CHECK(error_with("image", "[0, 4, 5]") == "\"image\" holds 0, expected a whole number from 1 on");
  CHECK(error_with("image", "[3, -4, 5]") == "\"image\" holds -4, expected a whole number from 1 on");
  CHECK(error_with("classes", "0").starts_with("\"classes\" is 0, expected a whole number from 1 to"));
  CHECK(error_with("classes", "3") == "\"class_names\" is no list of 3 texts");
  CHECK(error_with("class_names", "[1, 2]") == "\"class_names\" is no list of 2 texts");
  CHECK(error_with("mean", "[1, 2]") == "\"mean\" is no list of 3 numbers");
  CHECK(error_with("mean", R"([1, 2, "3"])") == "\"mean\" is no list of 3 numbers");
  CHECK(error_with("std", "[1, 0, 1]") == "\"std\" holds 0, expected numbers above 0");
  CHECK(error_of([] { DataDescription::from(Json::array()); }) == "array is no object");
}

TEST_CASE("descriptions differ in shape, classes, and names where both have some") {
  const DataDescription data = DataDescription::from(described());
  const auto differing = [&](const char* key, const char* value) {
    Json json = described();
    json[key] = Json::parse(value);
    return data.difference(DataDescription::from(json)).value_or("");
  };
  CHECK(differing("mean", "[0, 0, 0]").empty());
  CHECK(differing("image", "[3, 5, 4]") == "images of [3,5,4], expected [3,4,5] (channels, height, width)");
  CHECK(differing("class_names", R"(["cat", "cow"])") == "class 1 is \"cow\", expected \"dog\"");
  CHECK(differing("class_names", R"(["0", "1"])").empty());
  Json more = described();
  more["classes"] = 3;
  more["class_names"] = {"0", "1", "2"};
  CHECK(data.difference(DataDescription::from(more)) == "3 classes, expected 2");
  CHECK(DataDescription::from(more).difference(data) == "2 classes, expected 3");
}
