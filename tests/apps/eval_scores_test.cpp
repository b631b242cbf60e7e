// Scores of an evaluation, against counts by hand, and how they are shown.
#include <noisysgd/apps/eval/render.h>

#include <fmt/format.h>

#include <cmath>

#include <noisysgd/core/file.h>
#include <noisysgd/core/text_table.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/hostile_disk.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Logits whose softmax gives class k this probability and the others equal parts of the rest.
std::vector<float> logits_for(int64_t classes, int64_t k, double probability) {
  const double rest = (1 - probability) / static_cast<double>(classes - 1);
  std::vector<float> logits(static_cast<size_t>(classes), static_cast<float>(std::log(rest)));
  logits[static_cast<size_t>(k)] = static_cast<float>(std::log(probability));
  return logits;
}

Evaluation evaluation_of(int64_t classes, const std::vector<std::string>& names = {}) {
  Evaluation evaluation{.checkpoint = "run/checkpoint.safetensors",
                        .regime = "LB",
                        .seed = 3,
                        .step = 40,
                        .images = "toy test images",
                        .set = "test",
                        .class_names = names,
                        .loss = 0.5,
                        .scores = Scores(classes)};
  for (int64_t k = static_cast<int64_t>(names.size()); k < classes; ++k)
    evaluation.class_names.push_back(std::to_string(k));
  return evaluation;
}

void check_columns(const std::string& text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    REQUIRE(end != std::string::npos);
    INFO(text.substr(begin, end - begin));
    CHECK(display_width(text.substr(begin, end - begin)) <= 80);
    begin = end + 1;
  }
}

}  // namespace

TEST_CASE("scores count labels, predictions and confusions") {
  Scores scores(3);
  scores.add(std::vector<float>{2, 1, 0}, 0);
  scores.add(std::vector<float>{2, 1, 0}, 1);
  scores.add(std::vector<float>{0, 1, 5}, 1);
  scores.add(std::vector<float>{0, 1, 5}, 1);
  scores.add(std::vector<float>{1, 1, 1}, 0);  // the first of equals
  scores.add(std::vector<float>{1, 1, 1}, 2);
  CHECK(scores.images() == 6);
  CHECK(scores.correct() == 2);
  CHECK(scores.images(1) == 3);
  CHECK(scores.correct(0) == 2);
  CHECK(scores.correct(1) == 0);
  CHECK(scores.confused(1, 2) == 2);
  CHECK(scores.confused(2, 1) == 0);
  const auto confusions = scores.confusions();
  REQUIRE(confusions.size() == 3);
  CHECK(confusions[0].label == 1);
  CHECK(confusions[0].predicted == 2);
  CHECK(confusions[0].images == 2);
  CHECK(confusions[1].label == 1);  // equals in order
  CHECK(confusions[2].label == 2);
  CHECK(scores.predictions()[2].predicted == 2);
  CHECK(scores.predictions()[0].probability == Approx(std::exp(2.0) / (std::exp(2.0) + std::exp(1.0) + 1)));
}

TEST_CASE("a label is among the first five if fewer than five logits come before it") {
  const std::vector<float> logits{7, 6, 5, 5, 5, 5, 4, 3, 2, 1, 0, -1};
  for (int32_t label = 0; label < 12; ++label) {
    Scores scores(12);
    scores.add(logits, label);
    INFO(label);
    CHECK(scores.correct_of_five() == (label < 5));
  }
}

TEST_CASE("the calibration error is the mean gap of 15 bins") {
  Scores scores(2);
  // Bin 8, (8/15, 9/15]: two of four are right at 0.55 and 0.59. Bin 14: one of two is right at 0.99.
  for (const auto& [probability, label] : {std::pair{0.55, 0}, {0.55, 1}, {0.59, 0}, {0.59, 1}, {0.99, 0}, {0.99, 1}})
    scores.add(logits_for(2, 0, probability), label);
  CHECK(scores.bins()[8].images == 4);
  CHECK(scores.bins()[14].images == 2);
  const double by_hand = (4 * std::abs(0.5 - 0.57) + 2 * std::abs(0.5 - 0.99)) / 6;
  CHECK(scores.calibration_error() == Approx(by_hand).epsilon(1e-6));
}

TEST_CASE("the upper end of a bin belongs to it, and a certain prediction to the last") {
  Scores scores(3);
  scores.add(std::vector<float>{0, 0, 0}, 0);    // exactly 1/3 = 5/15
  scores.add(std::vector<float>{0, 200, 0}, 1);  // 1
  CHECK(scores.bins()[4].images == 1);
  CHECK(scores.bins()[14].images == 1);
}

TEST_CASE("the text of ten classes with long names and many images has at most 80 columns") {
  Evaluation evaluation = evaluation_of(10, {"airplane", "automobile", "bird", "a class with a name of many words",
                                             "deer", "dog", "frog", "horse", "ship", "truck"});
  for (int n = 0; n < 30000; ++n)
    evaluation.scores.add(logits_for(10, n % 3 == 0 ? n % 10 : 1, 0.5), static_cast<int32_t>(n % 10));
  const std::string text = text_of(evaluation);
  check_columns(text);
  CHECK(contains(text, "Confusion matrix"));
  CHECK(contains(text, "regime LB, seed 3, step 40, last weights: 30000 toy test images\n"));
  CHECK_FALSE(contains(text, "top-5"));
  CHECK(contains(text, "calibration error"));
  CHECK(contains(text, "expected calibration error, 15 bins"));
  CHECK(contains(markdown_of(evaluation), "| 1 automobile "));
}

TEST_CASE("of many classes the text shows the worst and the most frequent confusions, JSON all") {
  Evaluation evaluation = evaluation_of(30);
  for (int n = 0; n < 300; ++n) evaluation.scores.add(logits_for(30, n % 30 == 7 ? 8 : n % 30, 0.5), n % 30);
  const std::string text = text_of(evaluation);
  check_columns(text);
  CHECK(contains(text, "The 10 of 30 classes with the lowest accuracy:\n\nclass  images  correct  accuracy %\n"
                       "-----  ------  -------  ----------\n7          10        0        0.00\n"));
  CHECK(contains(text, "The 1 most frequent of 1 confusions:\n\nlabel  prediction  images\n"
                       "-----  ----------  ------\n7      8               10\n"));
  CHECK(contains(text, "top-5 accuracy"));
  CHECK(contains(markdown_of(evaluation), "| 29 "));
  const Json json = json_of(evaluation);
  CHECK(json.at("accuracy") == 290.0 / 300);
  CHECK(json.at("top5_accuracy").get<double>() >= 290.0 / 300);
  CHECK(json.at("confusion").at(7).at(8) == 10);
  CHECK(json.at("classes").at(7) == Json{{"name", "7"}, {"images", 10}, {"correct", 0}});
  CHECK(json.at("calibration_bins").size() == 15);
  CHECK(json.at("calibration_bins").at(0).at("accuracy").is_null());
}

TEST_CASE("probabilities are left out if the loss defines none") {
  Evaluation evaluation = evaluation_of(2);
  evaluation.scores.add(std::vector<float>{1, 0}, 0);
  evaluation.probabilities = false;
  CHECK_FALSE(contains(text_of(evaluation), "calibration"));
  CHECK_FALSE(json_of(evaluation).contains("calibration_error"));
  const TemporaryFolder folder;
  write_predictions(folder / "out.csv", evaluation);
  CHECK(read_file(folder / "out.csv") == "index,label,prediction,probability\n0,0,0,\n");
}

TEST_CASE("predictions are written whole or not at all") {
  Evaluation evaluation = evaluation_of(2);
  for (int n = 0; n < 1000; ++n) evaluation.scores.add(logits_for(2, n % 2, 0.75), 0);
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "out.csv";
  write_predictions(path, evaluation);
  const std::string whole = read_file(path);
  CHECK(whole.starts_with("index,label,prediction,probability\n0,0,0,0.75\n1,0,1,0.75\n"));
  CHECK(contains(whole, "\n999,0,1,0.75\n"));
  const FileSizeLimit full(1000);
  CHECK(error_of([&] { write_predictions(path, evaluation); }) ==
        fmt::format("cannot write {}: File too large", path.string()));
  CHECK(read_file(path) == whole);
}
