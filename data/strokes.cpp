#include <noisysgd/data/strokes.h>

#include <algorithm>
#include <cmath>

namespace noisysgd {
namespace {

constexpr int kPiecesPerSpan = 6;
constexpr float kSoftness = 0.75f;  // half the width of the edge in pixels, as of a scanned pen stroke

}  // namespace

std::vector<Point> flatten_stroke(std::span<const Point> control) {
  std::vector<Point> line{control.front()};
  for (size_t i = 0; i + 1 < control.size(); ++i) {
    const Point p1 = control[i], p2 = control[i + 1];
    const Point p0 = i > 0 ? control[i - 1] : p1, p3 = i + 2 < control.size() ? control[i + 2] : p2;
    for (int piece = 1; piece <= kPiecesPerSpan; ++piece) {
      const float t = static_cast<float>(piece) / kPiecesPerSpan;
      const float w0 = 0.5f * t * (-1 + t * (2 - t)), w1 = 0.5f * (2 + t * t * (-5 + 3 * t));
      const float w2 = 0.5f * t * (1 + t * (4 - 3 * t)), w3 = 0.5f * t * t * (t - 1);
      line.push_back({w0 * p0.x + w1 * p1.x + w2 * p2.x + w3 * p3.x, w0 * p0.y + w1 * p1.y + w2 * p2.y + w3 * p3.y});
    }
  }
  return line;
}

void InkCanvas::draw(std::span<const Point> line, float radius_begin, float radius_end) {
  const auto segments = static_cast<float>(line.size() - 1);
  for (size_t i = 0; i + 1 < line.size(); ++i) {
    const auto radius = [&](size_t point) {
      return radius_begin + (radius_end - radius_begin) * static_cast<float>(point) / segments;
    };
    draw_segment(line[i], line[i + 1], radius(i), radius(i + 1));
  }
}

void InkCanvas::draw_segment(Point from, Point to, float radius_from, float radius_to) {
  const float reach = std::max(radius_from, radius_to) + kSoftness;
  const auto first = [&](float low) { return std::clamp(static_cast<int>(std::floor(low - reach)), 0, side_); };
  const auto last = [&](float high) { return std::clamp(static_cast<int>(std::ceil(high + reach)), 0, side_); };
  const int x_first = first(std::min(from.x, to.x)), x_last = last(std::max(from.x, to.x));
  const int y_first = first(std::min(from.y, to.y)), y_last = last(std::max(from.y, to.y));
  const float dx = to.x - from.x, dy = to.y - from.y;
  const float length2 = std::max(dx * dx + dy * dy, 1e-12f);
  for (int y = y_first; y < y_last; ++y) {
    for (int x = x_first; x < x_last; ++x) {
      const float px = static_cast<float>(x) + 0.5f - from.x, py = static_cast<float>(y) + 0.5f - from.y;
      const float along = std::clamp((px * dx + py * dy) / length2, 0.0f, 1.0f);
      const float ex = px - along * dx, ey = py - along * dy;
      const float depth = radius_from + along * (radius_to - radius_from) - std::sqrt(ex * ex + ey * ey);
      float& ink = ink_[static_cast<size_t>(y * side_ + x)];
      ink = std::max(ink, std::clamp((depth + kSoftness) / (2 * kSoftness), 0.0f, 1.0f));
    }
  }
}

}  // namespace noisysgd
