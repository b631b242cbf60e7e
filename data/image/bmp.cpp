// Decodes BMP with stb_image. First checks what stb_image does not: that the file is complete and that every palette
// index has a colour.
#include <algorithm>

#include <noisysgd/data/image/formats.h>

namespace noisysgd::image {
namespace {

constexpr int64_t kFileHeader = 14;

struct BmpHeader {
  Header image;
  int64_t offset = 0, row_bytes = 0, bits = 0;
  int64_t colours = 0;  // in the palette; 0: no palette
};

BmpHeader parse(Bytes bytes) {
  check_length(bytes, kFileHeader + 12);
  BmpHeader header;
  header.offset = little_endian(bytes, 10, 4);
  const int64_t info = little_endian(bytes, 14, 4);
  int64_t used = 0;
  if (info == 12) {
    header.image.width = little_endian(bytes, 18, 2);
    header.image.height = little_endian(bytes, 20, 2);
    header.bits = little_endian(bytes, 24, 2);
    NSGD_CHECK(header.bits == 24, "OS/2 bitmaps with a palette are not read; save it as a Windows bitmap");
  } else {
    check_length(bytes, kFileHeader + info);
    header.image.width = static_cast<int32_t>(little_endian(bytes, 18, 4));
    header.image.height = static_cast<int32_t>(little_endian(bytes, 22, 4));
    if (header.image.height < 0) header.image.height = -header.image.height;  // stored from the top
    header.bits = little_endian(bytes, 28, 2);
    const int64_t compression = little_endian(bytes, 30, 4);
    NSGD_CHECK(compression == 0 || compression == 3, "compressed bitmaps are not read; save it without compression");
    used = little_endian(bytes, 46, 4);
  }
  constexpr int64_t kBits[] = {1, 4, 8, 16, 24, 32};
  NSGD_CHECK(std::find(std::begin(kBits), std::end(kBits), header.bits) != std::end(kBits),
             "{} bits per pixel are not read", header.bits);
  header.image.channels = 3;
  check_size(header.image.height, header.image.width);
  NSGD_CHECK(header.offset >= kFileHeader + info, "its pixels begin at byte {}, within the header", header.offset);
  header.row_bytes = (header.image.width * header.bits + 31) / 32 * 4;
  check_length(bytes, header.offset + header.image.height * header.row_bytes);
  if (header.bits < 16) {
    header.colours = (header.offset - kFileHeader - info) / 4;
    NSGD_CHECK(header.colours > 0, "it has no palette");
    if (used > 0) header.colours = std::min(header.colours, used);
  }
  return header;
}

void decode(Bytes bytes, const Header& image, uint8_t* pixels) {
  const BmpHeader header = parse(bytes);
  if (header.colours > 0) {
    const int64_t per_byte = 8 / header.bits, mask = (1 << header.bits) - 1;
    for (int64_t y = 0; y < image.height; ++y)
      for (int64_t x = 0; x < image.width; ++x) {
        const uint8_t packed = bytes[static_cast<size_t>(header.offset + y * header.row_bytes + x / per_byte)];
        const int64_t index = packed >> (per_byte - 1 - x % per_byte) * header.bits & mask;
        NSGD_CHECK(index < header.colours, "a pixel has colour {} of a palette of {}", index, header.colours);
      }
  }
  decode_by_stb(bytes, image, pixels);
}

bool matches(Bytes bytes) {
  if (bytes.size() < 18 || bytes[0] != 'B' || bytes[1] != 'M') return false;
  constexpr int64_t kSizes[] = {12, 40, 56, 108, 124};
  return std::find(std::begin(kSizes), std::end(kSizes), little_endian(bytes, 14, 4)) != std::end(kSizes);
}

}  // namespace

const Format bmp{matches, [](Bytes bytes) { return parse(bytes).image; }, decode};

}  // namespace noisysgd::image
