#include <noisysgd/data/synthetic.h>

#include <omp.h>
#include <rapidcheck.h>

#include <cmath>
#include <set>

#include <noisysgd/data/contact_sheet.h>
#include <noisysgd/data/glyphs.h>
#include <noisysgd/data/strokes.h>
#include "tests/catch.h"
#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;

TEST_CASE("synthetic sets have the promised shape and balanced classes") {
  for (const bool colour : {false, true}) {
    SyntheticOptions options;
    options.colour = colour;
    options.train_count = 60;
    options.test_count = 30;
    const auto [train, test] = make_synthetic(options);
    const int64_t side = colour ? 32 : 28;
    for (const auto* set : {&train, &test}) {
      CHECK(set->count == (set == &train ? 60 : 30));
      CHECK(set->height == side);
      CHECK(set->width == side);
      CHECK(set->channels == (colour ? 3 : 1));
      CHECK(set->classes == 10);
      CHECK(set->class_names.size() == 10);
      CHECK(static_cast<int64_t>(set->images.size()) == set->count * side * side * set->channels);
      std::vector<int64_t> counts(10);
      for (const int32_t label : set->labels) ++counts.at(static_cast<size_t>(label));
      CHECK(counts == std::vector<int64_t>(10, set->count / 10));
    }
  }
}

TEST_CASE("an image depends on seed, split and index only") {
  SyntheticOptions options;
  const int threads = omp_get_max_threads();
  for (const bool colour : {false, true}) {
    options.colour = colour;
    omp_set_num_threads(1);
    const Dataset one = synthesise(options, SyntheticSplit::train, 0, 100);
    omp_set_num_threads(5);
    const Dataset five = synthesise(options, SyntheticSplit::train, 0, 100);
    omp_set_num_threads(threads);
    CHECK(one.images == five.images);
    CHECK(one.labels == five.labels);

    const Dataset part = synthesise(options, SyntheticSplit::train, 37, 20);
    for (int64_t i = 0; i < 20; ++i) {
      const auto a = part.image(i), b = one.image(37 + i);
      REQUIRE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
      REQUIRE(part.labels[static_cast<size_t>(i)] == one.labels[static_cast<size_t>(37 + i)]);
    }

    const Dataset test = synthesise(options, SyntheticSplit::test, 0, 100);
    SyntheticOptions reseeded = options;
    reseeded.seed = 2;
    const Dataset other = synthesise(reseeded, SyntheticSplit::train, 0, 100);
    std::set<std::vector<uint8_t>> distinct;
    for (const auto* set : {&one, &test, &other})
      for (int64_t i = 0; i < 100; ++i) distinct.insert({set->image(i).begin(), set->image(i).end()});
    CHECK(distinct.size() == 300);
  }
}

// Arithmetic without library functions but sqrt: every machine draws these very pixels. A change of this number changes
// every experiment on synthetic data.
TEST_CASE("the first synthetic images are the recorded ones") {
  SyntheticOptions options;
  const auto sum = [&](bool colour) {
    options.colour = colour;
    uint64_t hash = 1469598103934665603u;  // FNV-1a
    for (const uint8_t byte : synthesise(options, SyntheticSplit::train, 0, 50).images)
      hash = (hash ^ byte) * 1099511628211u;
    return hash;
  };
  CHECK(sum(false) == 0xf8d1519f9d346786u);
  CHECK(sum(true) == 0xc8160a1d4efb675du);
}

TEST_CASE("label noise replaces the given fraction of training labels, never test labels or pixels") {
  SyntheticOptions clean, noisy;
  noisy.label_noise = 0.3;
  const int64_t count = 5000;
  const Dataset before = synthesise(clean, SyntheticSplit::train, 0, count);
  const Dataset after = synthesise(noisy, SyntheticSplit::train, 0, count);
  CHECK(before.images == after.images);
  std::vector<double> shifts(10);
  double changed = 0;
  for (size_t i = 0; i < before.labels.size(); ++i) {
    REQUIRE((after.labels[i] >= 0 && after.labels[i] < 10));
    changed += before.labels[i] != after.labels[i];
    ++shifts[static_cast<size_t>((after.labels[i] - before.labels[i] + 10) % 10)];
  }
  CHECK(changed / count == Approx(0.3).margin(5 * std::sqrt(0.3 * 0.7 / count)));
  for (size_t shift = 1; shift < 10; ++shift)
    CHECK(shifts[shift] == Approx(changed / 9).margin(5 * std::sqrt(changed / 9)));
  CHECK(synthesise(noisy, SyntheticSplit::test, 0, 200).labels ==
        synthesise(clean, SyntheticSplit::test, 0, 200).labels);
  noisy.label_noise = 1;
  const Dataset wrong = synthesise(noisy, SyntheticSplit::train, 0, 500);
  for (size_t i = 0; i < wrong.labels.size(); ++i) REQUIRE(wrong.labels[i] != before.labels[i]);
}

// Nearest class mean on held-out images: far above chance without difficulty, and lower with it.
TEST_CASE("digits are recognisable, less so at higher difficulty") {
  const auto accuracy = [](double difficulty) {
    SyntheticOptions options;
    options.difficulty = difficulty;
    const Dataset train = synthesise(options, SyntheticSplit::train, 0, 1000);
    const Dataset test = synthesise(options, SyntheticSplit::test, 0, 500);
    std::vector<std::vector<double>> means(10, std::vector<double>(784));
    for (int64_t i = 0; i < train.count; ++i)
      for (size_t p = 0; p < 784; ++p)
        means[static_cast<size_t>(train.labels[static_cast<size_t>(i)])][p] += train.image(i)[p] / 100.0;
    int64_t right = 0;
    for (int64_t i = 0; i < test.count; ++i) {
      size_t best = 0;
      double best_distance = INFINITY;
      for (size_t k = 0; k < 10; ++k) {
        double distance = 0;
        for (size_t p = 0; p < 784; ++p) distance += std::pow(test.image(i)[p] - means[k][p], 2);
        if (distance < best_distance) best_distance = distance, best = k;
      }
      right += static_cast<int32_t>(best) == test.labels[static_cast<size_t>(i)];
    }
    return static_cast<double>(right) / static_cast<double>(test.count);
  };
  const double easy = accuracy(0), usual = accuracy(0.5), hard = accuracy(1);
  CHECK(easy > 0.95);
  CHECK(usual > 0.2);
  CHECK(usual < 0.8);
  CHECK(hard < usual);
}

TEST_CASE("options out of range are refused with their values") {
  SyntheticOptions options;
  options.difficulty = 1.5;
  check_mentions(error_of([&] { synthesise(options, SyntheticSplit::train, 0, 1); }), {"difficulty", "1.5"});
  options = {};
  options.label_noise = -0.1;
  check_mentions(error_of([&] { make_synthetic(options); }), {"label_noise", "-0.1"});
  options = {};
  options.test_count = 0;
  check_mentions(error_of([&] { make_synthetic(options); }), {"synthetic", "0 images"});
  options.difficulty = NAN;
  check_mentions(error_of([&] { synthesise(options, SyntheticSplit::train, 0, 1); }), {"difficulty", "nan"});
}

TEST_CASE("a stroke covers the pixels within its radius") {
  InkCanvas canvas(16);
  const Point line[]{{4, 8}, {12, 8}};
  canvas.draw(line, 2, 2);
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 16; ++x) {
      const double px = x + 0.5, py = y + 0.5, dx = std::max({4 - px, px - 12, 0.0});
      const double distance = std::hypot(dx, py - 8);
      const double expected = std::clamp((2 - distance + 0.75) / 1.5, 0.0, 1.0);
      INFO("pixel " << y << ", " << x);
      CHECK(canvas.ink(y * 16 + x) == Approx(expected).margin(1e-5));
    }
}

TEST_CASE("strokes that leave the canvas or shrink to a point are drawn inside it") {
  InkCanvas canvas(8);
  const Point outside[]{{-50, -50}, {-40, 60}}, crossing[]{{-100, 4}, {100, 4}}, dot[]{{2, 1}, {2, 1}};
  canvas.draw(outside, 1, 1);
  for (int p = 0; p < 64; ++p) REQUIRE(canvas.ink(p) == 0);
  canvas.draw(dot, 1, 1);
  CHECK(canvas.ink(0 * 8 + 1) > 0.5f);
  CHECK(canvas.ink(6 * 8 + 6) == 0);
  canvas.draw(crossing, 1, 1);
  for (int x = 0; x < 8; ++x) CHECK(canvas.ink(4 * 8 + x) > 0.5f);
}

TEST_CASE("curves pass through their control points") {
  for (int digit = 0; digit < 10; ++digit) {
    REQUIRE(glyphs_of_digit(digit).size() >= 2);
    for (const Glyph glyph : glyphs_of_digit(digit))
      for (const Stroke stroke : glyph) {
        const auto line = flatten_stroke(stroke);
        REQUIRE((line.size() - 1) % (stroke.size() - 1) == 0);
        const size_t pieces = (line.size() - 1) / (stroke.size() - 1);
        for (size_t i = 0; i < stroke.size(); ++i) {
          CHECK(line[i * pieces].x == Approx(stroke[i].x).margin(1e-6));
          CHECK(line[i * pieces].y == Approx(stroke[i].y).margin(1e-6));
        }
      }
  }
  check_mentions(error_of([] { glyphs_of_digit(10); }), {"digit is 10"});
}
