// Images in memory: PNG, JPEG, BMP, TGA, PGM and PPM to uint8 pixels. The content decides the format, not the name.
// Transparency is dropped, 16 bits become 8, PNM levels are scaled to 255, CMYK becomes colour, and the orientation in
// a JPEG's or PNG's EXIF data is applied. Every Error begins with `name`: damaged, cut off or unread formats, palette
// indices without a colour, more than largest_image pixels. What follows the end of an image is ignored, but refused in
// PGM and PPM, where only the length tells a damaged file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace noisysgd {

inline constexpr int64_t largest_image = int64_t{1} << 28;  // pixels

struct ImageSize {
  int64_t height = 0, width = 0;
  int64_t channels = 0;  // 1 grey, 3 colour: that of a palette, too
};

struct Image {
  ImageSize size;
  std::vector<uint8_t> pixels;  // [height, width, channels]
};

// From the header alone; as decode_image would make it.
ImageSize image_size(std::span<const uint8_t> bytes, const std::string& name);

// channels: 1, 3 or 0, as the image has. Grey of a colour is (77 R + 150 G + 29 B) / 256, rounded down.
Image decode_image(std::span<const uint8_t> bytes, const std::string& name, int64_t channels = 0);

// Whether the ending of the name or the first bytes are those of an image, be it of a format that is not read.
bool is_image_name(const std::filesystem::path& path);
bool is_image_content(std::span<const uint8_t> first_bytes);

}  // namespace noisysgd
