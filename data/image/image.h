// Decodes PNG, JPEG, BMP, TGA, PGM and PPM images in memory to uint8 pixels. The content determines the format, not the
// name. Transparency is dropped, 16-bit values become 8-bit values, PNM levels are scaled to 255, CMYK becomes RGB, and
// the EXIF orientation of a JPEG or PNG is applied. Every Error begins with `name`: damaged or truncated images,
// formats that are not supported, palette indices without a colour, more than largest_image pixels. Bytes after the end
// of an image are ignored, except in PGM and PPM: there they are an Error, because only the length shows damage.
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
  int64_t channels = 0;  // 1 grey, 3 colour, also with a palette
};

struct Image {
  ImageSize size;
  std::vector<uint8_t> pixels;  // [height, width, channels]
};

// The size of the image that decode_image would return. Reads only the header.
ImageSize image_size(std::span<const uint8_t> bytes, const std::string& name);

// channels: 1, 3, or 0 to keep the image's own. Colour to grey: (77 R + 150 G + 29 B) / 256, rounded down.
Image decode_image(std::span<const uint8_t> bytes, const std::string& name, int64_t channels = 0);

// True if the extension of the name, or the first bytes, are those of an image format, supported or not.
bool is_image_name(const std::filesystem::path& path);
bool is_image_content(std::span<const uint8_t> first_bytes);

}  // namespace noisysgd
