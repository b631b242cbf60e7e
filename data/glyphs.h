// The ten digits as pen strokes in the unit square, x to the right and y down; several ways to write each.
#pragma once

#include <span>

namespace noisysgd {

struct Point {
  float x, y;
};

// A smooth curve through its points (Catmull-Rom). A corner is where one stroke ends and the next begins.
using Stroke = std::span<const Point>;
using Glyph = std::span<const Stroke>;

// All ways to write the digit, at least two.
std::span<const Glyph> glyphs_of_digit(int digit);

}  // namespace noisysgd
