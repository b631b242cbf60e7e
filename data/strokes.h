// Draws anti-aliased pen strokes on a small canvas. The ink of a pixel depends on the distance of its centre from the
// edge of the stroke: 0 outside, 1 inside, and a linear ramp across the edge.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <noisysgd/data/glyphs.h>

namespace noisysgd {

// Points of a uniform Catmull-Rom curve through `control`, a fixed number per span, both ends included.
std::vector<Point> flatten_stroke(std::span<const Point> control);

class InkCanvas {
 public:
  explicit InkCanvas(int side) : side_(side), ink_(static_cast<size_t>(side) * side, 0.0f) {}

  // A polyline in pixels (pixel centres at +0.5) whose radius runs linearly from one end to the other.
  void draw(std::span<const Point> line, float radius_begin, float radius_end);

  float ink(int pixel) const { return ink_[static_cast<size_t>(pixel)]; }  // in [0, 1]

 private:
  void draw_segment(Point from, Point to, float radius_from, float radius_to);

  int side_;
  std::vector<float> ink_;
};

}  // namespace noisysgd
