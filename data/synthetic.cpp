#include <noisysgd/data/synthetic.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include <noisysgd/data/strokes.h>
#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd {
namespace {

constexpr int kClasses = 10;

// The random words of one image, in the order in which they are used.
class Dice {
 public:
  Dice(uint64_t seed, SyntheticSplit split, int64_t index)
      : stream_{seed, static_cast<uint32_t>(index), static_cast<uint32_t>(split), RandomPurpose::synthetic_data} {}

  uint32_t word() {
    if (used_ == 4) {
      words_ = random_words(stream_, block_++);
      used_ = 0;
    }
    return words_[used_++];
  }
  float uniform(float low, float high) { return low + (high - low) * uniform_from_word(word()); }
  float around_zero(float extent) { return uniform(-extent, extent); }
  int below(int bound) { return static_cast<int>(below_from_word(word(), static_cast<uint32_t>(bound))); }
  // Mean 0, variance 1: the scaled sum of the four bytes of a word. Arithmetic only, so every machine draws the same
  // pixels.
  float bell() {
    const uint32_t w = word();
    const auto sum = static_cast<float>((w & 0xff) + (w >> 8 & 0xff) + (w >> 16 & 0xff) + (w >> 24));
    constexpr float kInverseDeviation = 0.0067658964f;  // 1/sqrt(4·(256² - 1)/12)
    return (sum - 510.0f) * kInverseDeviation;
  }

 private:
  RandomStream stream_;
  std::array<uint32_t, 4> words_{};
  uint32_t block_ = 0;
  int used_ = 4;
};

// A smooth random displacement of the unit square: quadratic B-splines over a lattice of 4×4 random vectors.
class ElasticField {
 public:
  ElasticField(Dice& dice, float extent) {
    for (auto& row : lattice_)
      for (auto& vector : row) vector = {dice.around_zero(extent), dice.around_zero(extent)};
  }

  Point displaced(Point p) const {
    const Weights across(p.x), down(p.y);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        const float weight = down.of[i] * across.of[j];
        const Point vector = lattice_[down.cell + i][across.cell + j];
        p.x += weight * vector.x;
        p.y += weight * vector.y;
      }
    return p;
  }

 private:
  struct Weights {
    int cell;
    std::array<float, 3> of;
    explicit Weights(float position) {
      const float scaled = std::clamp(2 * position, 0.0f, 2.0f);
      cell = scaled < 1 ? 0 : 1;
      const float t = scaled - static_cast<float>(cell);
      of = {0.5f * (1 - t) * (1 - t), 0.5f + t - t * t, 0.5f * t * t};
    }
  };

  std::array<std::array<Point, 4>, 4> lattice_{};
};

// Maps the unit square to pixels: size, slant, rotation and position of one digit.
class Placement {
 public:
  Placement(Dice& dice, int side, float wildness) {
    const float height = static_cast<float>(side) * 0.66f * (1 + dice.around_zero(0.22f * wildness));
    const float width = height * (0.72f + dice.around_zero(0.2f * wildness));
    const float slant = 0.08f * wildness + dice.around_zero(0.32f * wildness);
    // Rotation through t = tan(angle/2): no trigonometry, hence the same on every machine.
    const float t = dice.around_zero(0.16f * wildness);
    const float cosine = (1 - t * t) / (1 + t * t), sine = 2 * t / (1 + t * t);
    xx_ = cosine * width, xy_ = -cosine * slant * height - sine * height;
    yx_ = sine * width, yy_ = -sine * slant * height + cosine * height;
    const float centre = 0.5f * static_cast<float>(side), stray = 0.1f * wildness * static_cast<float>(side);
    x0_ = centre + dice.around_zero(stray);
    y0_ = centre + dice.around_zero(stray);
  }

  Point operator()(Point p) const {
    const float x = p.x - 0.5f, y = p.y - 0.5f;
    return {x0_ + xx_ * x + xy_ * y, y0_ + yx_ * x + yy_ * y};
  }

 private:
  float xx_, xy_, yx_, yy_, x0_, y0_;
};

using Colour = std::array<float, 3>;  // grey uses the first channel only

struct Palette {
  Colour background_from, background_to, digit, scratch;
};

Palette grey_palette(Dice& dice, float wildness) {
  const float paper = dice.uniform(0.0f, 0.12f * wildness);
  const float ink = dice.uniform(1 - 0.5f * std::min(wildness, 1.6f), 1.0f);
  const float scratch = ink * dice.uniform(0.45f, 1.0f);
  return {{paper}, {paper}, {ink}, {scratch}};
}

Palette colour_palette(Dice& dice, float wildness) {
  const auto any = [&] { return Colour{dice.uniform(0, 1), dice.uniform(0, 1), dice.uniform(0, 1)}; };
  const auto distance2 = [](const Colour& a, const Colour& b) {
    float sum = 0;
    for (int c = 0; c < 3; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
    return sum;
  };
  Palette palette;
  palette.background_from = any();
  palette.background_to = palette.background_from;
  for (float& value : palette.background_to) value = std::clamp(value + dice.around_zero(0.2f * wildness), 0.0f, 1.0f);
  // Drawn again, up to eight times, until it differs enough from the background. The opposite corner of the colour cube
  // always does.
  const auto legible = [&](const Colour& colour) {
    return distance2(colour, palette.background_from) > 0.2f && distance2(colour, palette.background_to) > 0.2f;
  };
  palette.digit = any();
  for (int attempt = 0; attempt < 8 && !legible(palette.digit); ++attempt) palette.digit = any();
  if (!legible(palette.digit))
    for (int c = 0; c < 3; ++c) palette.digit[c] = palette.background_from[c] < 0.5f ? 1.0f : 0.0f;
  palette.scratch = any();
  return palette;
}

void draw_digit(Dice& dice, InkCanvas& canvas, int side, int digit, float wildness) {
  const auto glyphs = glyphs_of_digit(digit);
  const Glyph glyph = glyphs[static_cast<size_t>(dice.below(static_cast<int>(glyphs.size())))];
  const ElasticField field(dice, 0.24f * wildness);
  const Placement place(dice, side, wildness);
  const float pen = static_cast<float>(side) / 28 * (1.25f + dice.around_zero(0.55f * std::min(wildness, 1.5f)));
  for (const Stroke stroke : glyph) {
    std::vector<Point> control;
    for (const Point point : stroke) control.push_back(place(field.displaced(point)));
    const float begin = pen * (1 + dice.around_zero(0.2f * std::min(wildness, 1.5f)));
    const float end = pen * (1 + dice.around_zero(0.35f * std::min(wildness, 1.5f)));
    canvas.draw(flatten_stroke(control), begin, end);
  }
}

void draw_scratches(Dice& dice, InkCanvas& canvas, int side, float wildness) {
  const int count = static_cast<int>(dice.uniform(0.0f, 4.0f * wildness));
  const float size = static_cast<float>(side);
  for (int i = 0; i < count; ++i) {
    const Point middle{dice.uniform(0, size), dice.uniform(0, size)};
    const Point arm{dice.around_zero(0.16f * size), dice.around_zero(0.16f * size)};
    const Point bend{dice.around_zero(0.08f * size), dice.around_zero(0.08f * size)};
    const Point control[]{{middle.x - arm.x, middle.y - arm.y},
                          {middle.x + bend.x, middle.y + bend.y},
                          {middle.x + arm.x, middle.y + arm.y}};
    canvas.draw(flatten_stroke(control), size / 28 * dice.uniform(0.4f, 1.1f), size / 28 * dice.uniform(0.3f, 0.9f));
  }
}

void draw_sample(const SyntheticOptions& options, SyntheticSplit split, int64_t index, int side, int channels,
                 uint8_t* image, int32_t& label) {
  Dice dice(options.seed, split, index);
  // Random colours make the task harder. With this factor LeNet is about as accurate on colour as on grey images.
  const auto wildness = static_cast<float>(2 * options.difficulty * (channels == 3 ? 0.75 : 1.0));
  const int digit = static_cast<int>(index % kClasses);
  label = digit;
  // Both are drawn in any case, so label noise never changes an image.
  const float doubt = dice.uniform(0, 1);
  const int other = dice.below(kClasses - 1);
  if (split == SyntheticSplit::train && doubt < static_cast<float>(options.label_noise))
    label = other < digit ? other : other + 1;

  const Palette palette = channels == 1 ? grey_palette(dice, wildness) : colour_palette(dice, wildness);
  InkCanvas digit_ink(side), scratch_ink(side);
  draw_digit(dice, digit_ink, side, digit, wildness);
  draw_scratches(dice, scratch_ink, side, wildness);
  const float grain = 0.1f * wildness * dice.uniform(0.3f, 1.0f);
  const Point ramp{dice.around_zero(1.0f), dice.around_zero(1.0f)};
  for (int pixel = 0; pixel < side * side; ++pixel) {
    const float x = static_cast<float>(pixel % side) / static_cast<float>(side) - 0.5f;
    const float y = static_cast<float>(pixel / side) / static_cast<float>(side) - 0.5f;
    const float shade = 0.5f + 0.5f * (ramp.x * x + ramp.y * y);
    for (int c = 0; c < channels; ++c) {
      float value = palette.background_from[c] + shade * (palette.background_to[c] - palette.background_from[c]);
      value += scratch_ink.ink(pixel) * (palette.scratch[c] - value);
      value += digit_ink.ink(pixel) * (palette.digit[c] - value);
      value += grain * dice.bell();
      image[pixel * channels + c] = static_cast<uint8_t>(std::clamp(value, 0.0f, 1.0f) * 255.0f + 0.5f);
    }
  }
}

void check_options(const SyntheticOptions& options) {
  NSGD_CHECK(options.difficulty >= 0 && options.difficulty <= 1, "synthetic: difficulty is {}, expected 0 to 1",
             options.difficulty);
  NSGD_CHECK(options.label_noise >= 0 && options.label_noise <= 1, "synthetic: label_noise is {}, expected 0 to 1",
             options.label_noise);
}

}  // namespace

Dataset synthesise(const SyntheticOptions& options, SyntheticSplit split, int64_t first, int64_t count) {
  check_options(options);
  NSGD_CHECK(first >= 0 && count > 0 && first + count <= int64_t{1} << 31,
             "synthetic: {} images from {} on, expected at least one and indices below 2^31", count, first);
  Dataset dataset;
  dataset.name = options.colour ? "synthetic colour" : "synthetic";
  dataset.count = count;
  dataset.height = dataset.width = options.colour ? 32 : 28;
  dataset.channels = options.colour ? 3 : 1;
  dataset.classes = kClasses;
  for (int k = 0; k < kClasses; ++k) dataset.class_names.push_back(std::to_string(k));
  dataset.images.resize(static_cast<size_t>(count * dataset.image_size()));
  dataset.labels.resize(static_cast<size_t>(count));
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i)
    draw_sample(options, split, first + i, static_cast<int>(dataset.height), static_cast<int>(dataset.channels),
                dataset.images.data() + i * dataset.image_size(), dataset.labels[static_cast<size_t>(i)]);
  return dataset;
}

DatasetPair make_synthetic(const SyntheticOptions& options) {
  return {synthesise(options, SyntheticSplit::train, 0, options.train_count),
          synthesise(options, SyntheticSplit::test, 0, options.test_count)};
}

}  // namespace noisysgd
