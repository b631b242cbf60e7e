// Decodes TGA with stb_image. First checks what stb_image does not: that the file is complete, that every palette index
// has a colour, and that rows run from left to right. The format has no signature, so it is tried last.
#include <noisysgd/data/image/formats.h>

namespace noisysgd::image {
namespace {

constexpr int64_t kHeader = 18;

struct TgaHeader {
  Header image;
  bool indexed = false, packed = false;
  int64_t colours = 0, pixel_bytes = 0, begin = 0;  // begin: offset of the pixels
};

bool one_of(int64_t value, std::initializer_list<int64_t> expected) {
  for (const int64_t each : expected)
    if (value == each) return true;
  return false;
}

bool matches(Bytes bytes) {
  if (bytes.size() < kHeader) return false;
  const int type = bytes[2] & ~8, colour_map = bytes[1], colour_bits = bytes[7], bits = bytes[16];
  if (bytes[2] > 11 || (bytes[17] & 0xc0) != 0) return false;
  if (type == 1) return colour_map == 1 && one_of(colour_bits, {8, 15, 16, 24, 32}) && one_of(bits, {8, 16});
  if (colour_map != 0 || !one_of(colour_bits, {0, 15, 16, 24, 32})) return false;
  return type == 2 ? one_of(bits, {15, 16, 24, 32}) : type == 3 && one_of(bits, {8, 16});
}

TgaHeader parse(Bytes bytes) {
  TgaHeader header;
  header.indexed = bytes[1] == 1;
  header.packed = (bytes[2] & 8) != 0;
  header.image.width = little_endian(bytes, 12, 2);
  header.image.height = little_endian(bytes, 14, 2);
  check_size(header.image.height, header.image.width);
  NSGD_CHECK((bytes[17] & 0x10) == 0, "its rows run from right to left; save it from left to right");
  const int64_t colour_bits = header.indexed ? bytes[7] : bytes[16];
  header.image.channels = (bytes[2] & ~8) == 3 || colour_bits == 8 ? 1 : 3;
  header.pixel_bytes = (bytes[16] + 7) / 8;
  header.begin = kHeader + bytes[0];
  if (header.indexed) {
    NSGD_CHECK(little_endian(bytes, 3, 2) == 0, "its palette does not begin with colour 0");
    header.colours = little_endian(bytes, 5, 2);
    NSGD_CHECK(header.colours > 0, "it has no palette");
    header.begin += header.colours * ((colour_bits + 7) / 8);
  }
  const int64_t pixels = header.image.height * header.image.width;
  constexpr int64_t kLongestRun = 128;
  check_length(bytes,
               header.begin + (header.packed ? (pixels + kLongestRun - 1) / kLongestRun * (1 + header.pixel_bytes)
                                             : pixels * header.pixel_bytes));
  return header;
}

void decode(Bytes bytes, const Header& image, uint8_t* pixels) {
  const TgaHeader header = parse(bytes);
  int64_t at = header.begin;
  for (int64_t left = image.height * image.width; left > 0;) {
    int64_t run = left, stored = left;  // pixels, and how many of them are stored
    if (header.packed) {
      check_length(bytes, at + 1);
      const uint8_t packet = bytes[static_cast<size_t>(at++)];
      run = 1 + (packet & 127);
      stored = packet & 128 ? 1 : run;
      NSGD_CHECK(run <= left, "a run of {} pixels begins {} before the end", run, left);
    }
    check_length(bytes, at + stored * header.pixel_bytes);
    for (int64_t i = 0; header.indexed && i < stored; ++i) {
      const int64_t index = little_endian(bytes, static_cast<size_t>(at + i * header.pixel_bytes),
                                          static_cast<size_t>(header.pixel_bytes));
      NSGD_CHECK(index < header.colours, "a pixel has colour {} of a palette of {}", index, header.colours);
    }
    at += stored * header.pixel_bytes;
    left -= run;
  }
  decode_by_stb(bytes, image, pixels);
}

}  // namespace

const Format tga{matches, [](Bytes bytes) { return parse(bytes).image; }, decode};

}  // namespace noisysgd::image
