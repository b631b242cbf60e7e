#include <noisysgd/data/resize.h>

#include <algorithm>
#include <cmath>

namespace noisysgd {
namespace {

// The source pixels that contribute to one target pixel: the index of the first, and the weights, which sum to 1.
struct Taps {
  int64_t first = 0;
  std::vector<double> weights;
};

Taps area(int64_t at, int64_t from, int64_t to) {
  Taps taps{at * from / to, {}};
  const int64_t begin = at * from, end = begin + from;  // in units of 1/`to` of a source pixel
  for (int64_t pixel = taps.first; pixel * to < end; ++pixel)
    taps.weights.push_back(static_cast<double>(std::min(end, (pixel + 1) * to) - std::max(begin, pixel * to)) /
                           static_cast<double>(from));
  return taps;
}

Taps between_centres(int64_t at, int64_t from, int64_t to) {
  const double centre = (static_cast<double>(at) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
  const double position = std::clamp(centre, 0.0, static_cast<double>(from - 1));
  const auto low = static_cast<int64_t>(position);
  const double part = position - static_cast<double>(low);
  if (part == 0.0) return {low, {1.0}};
  return {low, {1.0 - part, part}};
}

std::vector<Taps> axis(int64_t from, int64_t to) {
  std::vector<Taps> taps;
  for (int64_t at = 0; at < to; ++at) taps.push_back(from > to ? area(at, from, to) : between_centres(at, from, to));
  return taps;
}

}  // namespace

std::vector<uint8_t> resize_image(const uint8_t* image, int64_t H, int64_t W, int64_t C, int64_t height,
                                  int64_t width) {
  const auto rows = axis(H, height), columns = axis(W, width);
  std::vector<double> line(static_cast<size_t>(W * C));  // one target row, not yet resized in width
  std::vector<uint8_t> resized;
  resized.reserve(static_cast<size_t>(height * width * C));
  for (const Taps& row : rows) {
    std::fill(line.begin(), line.end(), 0.0);
    for (size_t i = 0; i < row.weights.size(); ++i) {
      const uint8_t* source = image + (row.first + static_cast<int64_t>(i)) * W * C;
      for (size_t j = 0; j < line.size(); ++j) line[j] += row.weights[i] * source[j];
    }
    for (const Taps& column : columns)
      for (int64_t c = 0; c < C; ++c) {
        double sum = 0;
        for (size_t i = 0; i < column.weights.size(); ++i)
          sum += column.weights[i] * line[static_cast<size_t>((column.first + static_cast<int64_t>(i)) * C + c)];
        resized.push_back(static_cast<uint8_t>(std::lround(std::clamp(sum, 0.0, 255.0))));
      }
  }
  return resized;
}

}  // namespace noisysgd
