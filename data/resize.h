// Resizes images. Along an axis that shrinks, a pixel is the mean of the area that it covers, with source pixels
// weighted by the fraction that lies in the area. Along any other axis, it is interpolated linearly between pixel
// centres, with the edges repeated.
#pragma once

#include <cstdint>
#include <vector>

namespace noisysgd {

// [H,W,C] -> [height,width,C], rounded to the nearest level.
std::vector<uint8_t> resize_image(const uint8_t* image, int64_t H, int64_t W, int64_t C, int64_t height, int64_t width);

}  // namespace noisysgd
