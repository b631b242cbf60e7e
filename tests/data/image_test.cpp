// Images from bytes that the test builds: the contents of each format, and the errors that it can have.
#include <noisysgd/data/image/image.h>

#include <cmath>

#include <noisysgd/data/image/formats.h>
#include "tests/data/encoded_images.h"

using namespace noisysgd;
using namespace noisysgd::testing;

namespace {

Bytes pixels_of(const Bytes& file, int64_t channels = 0) { return decode_image(file, "file", channels).pixels; }

std::string message_of(const Bytes& file) {
  return error_of([&] { decode_image(file, "the/file"); });
}

Bytes pnm(const std::string& header, const Bytes& values) {
  Bytes file = text_bytes(header);
  append(file, values);
  return file;
}

void check_size_is(const Bytes& file, int64_t height, int64_t width, int64_t channels) {
  for (const ImageSize& size : {image_size(file, "file"), decode_image(file, "file").size}) {
    CHECK(size.height == height);
    CHECK(size.width == width);
    CHECK(size.channels == channels);
  }
}

// Every truncation of the file is refused, with its name. The rest stays in memory after the end, for a reader that
// goes too far.
void check_cuts(const Bytes& file, size_t least = 0) {
  for (size_t length = least; length < file.size(); ++length) {
    INFO("cut to " << length << " of " << file.size() << " bytes");
    const std::string message = error_of([&] { decode_image(std::span(file).first(length), "the/file"); });
    REQUIRE(message.starts_with("the/file: cannot be decoded: "));
  }
}

}  // namespace

TEST_CASE("PNG: grey of every depth, scaled to 255") {
  check_size_is(png_bytes({5, 1, 1, 0, 0, {0, 0b10110000}, {}, {}}), 1, 5, 1);
  CHECK(pixels_of(png_bytes({5, 1, 1, 0, 0, {0, 0b10110000}, {}, {}})) == Bytes{255, 0, 255, 255, 0});
  CHECK(pixels_of(png_bytes({4, 1, 2, 0, 0, {0, 0b00011011}, {}, {}})) == Bytes{0, 85, 170, 255});
  CHECK(pixels_of(png_bytes({2, 1, 4, 0, 0, {0, 0x1e}, {}, {}})) == Bytes{17, 238});
  // 16 bits: 65535 is 255, rounded to the nearest level, not the upper byte.
  CHECK(pixels_of(png_bytes({4, 1, 16, 0, 0, {0, 0, 0, 0xff, 0xff, 0x80, 0x00, 0x00, 0xff}, {}, {}})) ==
        Bytes{0, 255, 128, 1});
}

TEST_CASE("PNG: colour, palettes, and transparency that is dropped") {
  const Bytes colour = noise_bytes(3 * 4 * 3, 1);
  CHECK(pixels_of(png_of(colour, 3, 4, 3)) == colour);
  check_size_is(png_of(colour, 3, 4, 3), 3, 4, 3);
  check_size_is(png_bytes({1, 1, 8, 4, 0, {0, 9, 100}, {}, {}}), 1, 1, 1);
  CHECK(pixels_of(png_bytes({1, 1, 8, 4, 0, {0, 9, 100}, {}, {}})) == Bytes{9});
  CHECK(pixels_of(png_bytes({1, 1, 8, 6, 0, {0, 9, 8, 7, 0}, {}, {}})) == Bytes{9, 8, 7});
  Bytes palette = png_chunk("PLTE", {1, 2, 3, 4, 5, 6, 7, 8, 9});
  append(palette, png_chunk("tRNS", {0, 128}));
  const Bytes indexed = png_bytes({4, 1, 2, 3, 0, {0, 0b10000110}, palette, {}});
  check_size_is(indexed, 1, 4, 3);
  CHECK(pixels_of(indexed) == Bytes{7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  // A colour that is declared transparent keeps its value.
  CHECK(pixels_of(png_bytes({1, 1, 8, 0, 0, {0, 9}, png_chunk("tRNS", {0, 9}), {}})) == Bytes{9});
}

TEST_CASE("PNG: a palette index without a colour is refused") {
  const Bytes palette = png_chunk("PLTE", {1, 2, 3, 4, 5, 6});
  CHECK(pixels_of(png_bytes({2, 1, 8, 3, 0, {0, 1, 0}, palette, {}})) == Bytes{4, 5, 6, 1, 2, 3});
  check_mentions(message_of(png_bytes({2, 1, 8, 3, 0, {0, 1, 2}, palette, {}})), {"the/file", "palette"});
  check_mentions(message_of(png_bytes({2, 2, 4, 3, 0, {0, 0x01, 0, 0x0f}, palette, {}})), {"the/file", "palette"});
}

TEST_CASE("no incomplete PNG is accepted") {
  check_cuts(png_of(noise_bytes(4 * 5), 4, 5, 1));
  check_cuts(png_bytes({2, 1, 8, 3, 0, {0, 1, 0}, png_chunk("PLTE", {1, 2, 3, 4, 5, 6}), {}}));
}

TEST_CASE("PNG: interlaced images") {
  // Adam7 on 2×2: pass 1 has (0,0), pass 6 has (0,1), pass 7 has the second row.
  CHECK(pixels_of(png_bytes({2, 2, 8, 0, 1, {0, 10, 0, 11, 0, 12, 13}, {}, {}})) == Bytes{10, 11, 12, 13});
}

TEST_CASE("PNG: one flipped bit anywhere is refused, also in chunks that only annotate") {
  PngParts parts{8, 8, 8, 2, 0, scanlines(noise_bytes(8 * 8 * 3), 24), {}, {}};
  parts.before_data = png_chunk("tEXt", text_bytes(std::string("Title\0A picture", 15)));
  const Bytes good = png_bytes(parts);
  REQUIRE(pixels_of(good) == noise_bytes(8 * 8 * 3));
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    INFO("bit " << bit);
    REQUIRE(!message_of(bad).empty());
  }
}

TEST_CASE("PNG: invalid annotations and bytes after the image are ignored") {
  PngParts parts{2, 1, 8, 0, 0, {0, 3, 4}, {}, {}};
  for (const std::string type : {"gAMA", "iCCP", "sRGB", "cHRM", "tIME", "bKGD", "sBIT", "tRNS"}) {
    parts.before_data = png_chunk(type, {0, 0, 0});
    CHECK(pixels_of(png_bytes(parts)) == Bytes{3, 4});
  }
  Bytes longer = png_bytes(parts);
  append(longer, noise_bytes(20));
  CHECK(pixels_of(longer) == Bytes{3, 4});
  parts.before_data = png_chunk("ABCD", {1});  // critical and unknown
  check_mentions(message_of(png_bytes(parts)), {"the/file", "ABCD"});
}

TEST_CASE("JPEG: grey, colour and progressive come close to what was encoded") {
  for (const int channels : {1, 3})
    for (const bool progressive : {false, true}) {
      Bytes pixels;
      for (int y = 0; y < 24; ++y)
        for (int x = 0; x < 16; ++x)
          for (int c = 0; c < channels; ++c) pixels.push_back(static_cast<uint8_t>(40 + 5 * y + 3 * x + 10 * c));
      const Bytes file = jpeg_bytes(pixels, 24, 16, channels, [&](auto& info) {
        if (progressive) jpeg_simple_progression(&info);
      });
      check_size_is(file, 24, 16, channels);
      const Bytes decoded = pixels_of(file);
      REQUIRE(decoded.size() == pixels.size());
      for (size_t i = 0; i < pixels.size(); ++i) REQUIRE(std::abs(decoded[i] - pixels[i]) <= 4);
      check_cuts(file);
      Bytes longer = file;
      append(longer, noise_bytes(20));
      CHECK(pixels_of(longer) == decoded);
    }
}

TEST_CASE("JPEG: CMYK becomes RGB") {
  // Adobe's way: 255 is no ink, and colour is the product with black.
  Bytes ink;
  for (int i = 0; i < 64; ++i) append(ink, {200, 100, 50, 128});
  const Bytes file = jpeg_bytes(ink, 8, 8, 4);
  check_size_is(file, 8, 8, 3);
  const Bytes decoded = pixels_of(file);
  const double expected[] = {200 * 128 / 255.0, 100 * 128 / 255.0, 50 * 128 / 255.0};
  for (size_t i = 0; i < decoded.size(); ++i) REQUIRE(std::abs(decoded[i] - expected[i % 3]) <= 1.5);
  // Without Adobe's mark 0 is no ink.
  const Bytes plain = jpeg_bytes(ink, 8, 8, 4, [](auto& info) { info.write_Adobe_marker = FALSE; });
  const double inverse[] = {55 * 127 / 255.0, 155 * 127 / 255.0, 205 * 127 / 255.0};
  const Bytes mixed = pixels_of(plain);
  for (size_t i = 0; i < mixed.size(); ++i) REQUIRE(std::abs(mixed[i] - inverse[i % 3]) <= 1.5);
}

TEST_CASE("the orientation in EXIF data is applied") {
  // Positions of the stored first row and first column in the picture, for 1 to 8 (EXIF 2.3, section 4.6.4 A).
  const std::string row_sides[] = {"top", "top", "bottom", "bottom", "left", "right", "right", "left"};
  const std::string column_sides[] = {"left", "right", "right", "left", "top", "top", "bottom", "bottom"};
  constexpr int kHeight = 3, kWidth = 5;
  const Bytes pixels = noise_bytes(kHeight * kWidth, 3);
  const Bytes plain_jpeg = pixels_of(jpeg_bytes(pixels, kHeight, kWidth, 1));
  for (uint16_t orientation = 1; orientation <= 8; ++orientation) {
    INFO("orientation " << orientation);
    const bool turned = orientation >= 5;
    const int height = turned ? kWidth : kHeight, width = turned ? kHeight : kWidth;
    const auto expected = [&](const Bytes& stored) {
      Bytes picture(stored.size());
      for (int row = 0; row < kHeight; ++row)
        for (int column = 0; column < kWidth; ++column) {
          int y = 0, x = 0;
          const auto place = [&](const std::string& side, int at) {
            if (side == "top") y = at;
            if (side == "bottom") y = height - 1 - at;
            if (side == "left") x = at;
            if (side == "right") x = width - 1 - at;
          };
          place(row_sides[orientation - 1], row);
          place(column_sides[orientation - 1], column);
          picture[static_cast<size_t>(y * width + x)] = stored[static_cast<size_t>(row * kWidth + column)];
        }
      return picture;
    };
    for (const bool big : {false, true}) {
      const Bytes jpeg = jpeg_bytes(pixels, kHeight, kWidth, 1, {}, exif(orientation, big));
      check_size_is(jpeg, height, width, 1);
      CHECK(pixels_of(jpeg) == expected(plain_jpeg));
      PngParts parts{kWidth, kHeight, 8, 0, 0, scanlines(pixels, kWidth), png_chunk("eXIf", exif(orientation, big)),
                     {}};
      check_size_is(png_bytes(parts), height, width, 1);
      CHECK(pixels_of(png_bytes(parts)) == expected(pixels));
    }
  }
  // Invalid values are ignored.
  Bytes cut = exif(6);
  cut.resize(15);
  for (const Bytes& nonsense :
       {exif(0), exif(9), Bytes{'M', 'M'}, Bytes{'I', 'I', 42, 0, 255, 255, 255, 255, 0}, noise_bytes(40), cut})
    CHECK(pixels_of(jpeg_bytes(pixels, kHeight, kWidth, 1, {}, nonsense)) == plain_jpeg);
}

TEST_CASE("the orientation is read within the EXIF data, from an entry of its type") {
  for (const bool big : {false, true}) {
    const Bytes whole = exif(6, big);
    for (size_t length = 0; length <= whole.size(); ++length)  // the entry ends at byte 22
      CHECK(image::exif_orientation(std::span(whole).first(length)) == (length >= 22 ? 6 : 1));
    Bytes four_bytes = whole;
    four_bytes[big ? 13 : 12] = 4;  // the type of 32 bits
    CHECK(image::exif_orientation(four_bytes) == 1);
  }
}

TEST_CASE("no JPEG without its end is accepted, however small") {
  for (size_t bright = 0; bright <= 64; ++bright) {
    Bytes pixels(64, 100);
    std::fill_n(pixels.begin(), bright, uint8_t{200});
    const Bytes file = jpeg_bytes(pixels, 8, 8, 1);
    check_cuts(file, file.size() - 2);  // the end mark has two bytes
  }
}

TEST_CASE("JPEG: more than 500 scans and arithmetic coding are refused") {
  // Bit by bit from the tenth: of the mean, then of one frequency after the other.
  std::vector<jpeg_scan_info> scans;
  for (int frequency = 0; frequency < 64; ++frequency)
    for (int bit = 10; bit >= 0; --bit)
      scans.push_back({1, {0, 0, 0, 0}, frequency, frequency, bit == 10 ? 0 : bit + 1, bit});
  const auto with_scans = [&](int count) {
    return jpeg_bytes(noise_bytes(64), 8, 8, 1, [&](auto& info) {
      info.scan_info = scans.data();
      info.num_scans = count;
    });
  };
  CHECK(pixels_of(with_scans(500)).size() == 64);
  check_mentions(message_of(with_scans(501)), {"the/file", "more than 500 scans"});
  const Bytes arithmetic = jpeg_bytes(noise_bytes(64), 8, 8, 1, [](auto& info) { info.arith_code = TRUE; });
  check_mentions(message_of(arithmetic), {"the/file", "arithmetic coding is not read"});
}

TEST_CASE("JPEG: missing quantisation tables and other damage are refused, not decoded") {
  const Bytes good = jpeg_bytes(noise_bytes(32 * 32 * 3), 32, 32, 3);
  const auto without = [](const Bytes& file, uint8_t marker) {
    Bytes kept(file.begin(), file.begin() + 2);
    size_t at = 2;
    while (file[at + 1] != 0xda) {
      const size_t size = 2 + file[at + 2] * 256u + file[at + 3];
      if (file[at + 1] != marker)
        kept.insert(kept.end(), file.begin() + static_cast<int64_t>(at),
                    file.begin() + static_cast<int64_t>(at + size));
      at += size;
    }
    kept.insert(kept.end(), file.begin() + static_cast<int64_t>(at), file.end());
    return kept;
  };
  check_mentions(message_of(without(good, 0xdb)), {"the/file", "cannot be decoded"});
  check_mentions(message_of(without(good, 0xc0)), {"the/file", "cannot be decoded"});
  // A frame of a motion JPEG omits the standard Huffman tables; every decoder supplies them.
  CHECK(pixels_of(without(good, 0xc4)) == pixels_of(good));
  const Bytes progressive =
      jpeg_bytes(noise_bytes(32 * 32), 32, 32, 1, [](auto& info) { jpeg_simple_progression(&info); });
  check_mentions(message_of(without(progressive, 0xc4)), {"the/file", "cannot be decoded"});
  check_cuts(good, good.size() - 200);
}

TEST_CASE("PGM and PPM: comments, levels other than 255, 16 bits") {
  CHECK(pixels_of(pnm("P5 3 1 255\n", {1, 2, 3})) == Bytes{1, 2, 3});
  CHECK(pixels_of(pnm("P6\n# a comment\n1 # another\n2\n255\n", {1, 2, 3, 4, 5, 6})) == Bytes{1, 2, 3, 4, 5, 6});
  CHECK(pixels_of(pnm("P5 4 1 15\n", {0, 1, 7, 15})) == Bytes{0, 17, 119, 255});
  CHECK(pixels_of(pnm("P5 2 1 1\n", {0, 1})) == Bytes{0, 255});
  CHECK(pixels_of(pnm("P5 3 1 65535\n", {0xff, 0xff, 0x80, 0x00, 0x00, 0xff})) == Bytes{255, 128, 1});
  CHECK(pixels_of(pnm("P5 2 1 1000\n", {0x03, 0xe8, 0x01, 0xf4})) == Bytes{255, 128});
  CHECK(pixels_of(pnm("P5\r# a comment\r2 1 255\r", {1, 2})) == Bytes{1, 2});
  check_size_is(pnm("P6 1 2 255\n", {1, 2, 3, 4, 5, 6}), 2, 1, 3);
  check_cuts(pnm("P6 2 2 255\n", noise_bytes(12)));
}

TEST_CASE("bad PGM and PPM are refused by value") {
  check_mentions(message_of(pnm("P5 3 1 15\n", {1, 2, 16})), {"the/file", "16", "15"});
  check_mentions(message_of(pnm("P5 3 1 255\n", {1, 2, 3, 4})), {"1 bytes follow"});
  check_mentions(message_of(pnm("P5 0 1 255\n", {})), {"1×0"});
  check_mentions(message_of(pnm("P5 1 1 0\n", {1})), {"largest value is 0"});
  check_mentions(message_of(pnm("P5 1 1 65536\n", {1, 1})), {"largest value is 65536"});
  check_mentions(message_of(pnm("P5 1 x", {})), {"no height"});
  check_mentions(message_of(pnm("P5 99999999999999999999 1 255\n", {})), {"its width is more than 268435456"});
  check_mentions(message_of(pnm("P5 268435456 1 255\n", {})), {"cut off"});  // as many as there may be
  check_mentions(message_of(pnm("P5 1 1 255x", {7})), {"does not end with a space"});
  check_mentions(message_of(pnm("P5 268435456 2 255\n", {})), {"more than 268435456 pixels"});
  check_mentions(message_of(text_bytes("P2 1 1 255\n7\n")), {"no image"});
}

TEST_CASE("BMP: colour from the bottom or the top, and palettes") {
  // Blue, green, red; rows of two pixels are padded to 8 bytes.
  const Bytes rows{1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0};
  CHECK(pixels_of(bmp_bytes(2, 2, 24, {}, rows)) == Bytes{9, 8, 7, 12, 11, 10, 3, 2, 1, 6, 5, 4});
  CHECK(pixels_of(bmp_bytes(2, -2, 24, {}, rows)) == Bytes{3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10});
  check_size_is(bmp_bytes(2, -2, 24, {}, rows), 2, 2, 3);
  check_cuts(bmp_bytes(2, 2, 24, {}, rows));
  const Bytes palette{10, 20, 30, 0, 40, 50, 60, 0};
  CHECK(pixels_of(bmp_bytes(2, 1, 8, palette, {1, 0, 0, 0})) == Bytes{60, 50, 40, 30, 20, 10});
  CHECK(pixels_of(bmp_bytes(2, 1, 4, palette, {0x10, 0, 0, 0})) == Bytes{60, 50, 40, 30, 20, 10});
  CHECK(pixels_of(bmp_bytes(2, 1, 1, palette, {0x80, 0, 0, 0})) == Bytes{60, 50, 40, 30, 20, 10});
  check_cuts(bmp_bytes(2, 1, 8, palette, {1, 0, 0, 0}));
  // Bits of red, green and blue by masks after the header.
  Bytes masked = bmp_bytes(1, 1, 32, {0, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0, 0}, {1, 2, 3, 0});
  masked[30] = 3;
  CHECK(pixels_of(masked) == Bytes{3, 2, 1});
  const Bytes os2{'B', 'M', 30, 0, 0, 0, 0, 0, 0, 0, 26, 0, 0, 0, 12, 0, 0, 0, 1, 0, 1, 0, 1, 0, 24, 0, 1, 2, 3, 0};
  CHECK(pixels_of(os2) == Bytes{3, 2, 1});
}

TEST_CASE("bad BMP are refused: indices without a colour, sizes, headers") {
  const Bytes palette{10, 20, 30, 0, 40, 50, 60, 0};
  check_mentions(message_of(bmp_bytes(2, 1, 8, palette, {1, 2, 0, 0})), {"the/file", "colour 2", "palette of 2"});
  check_mentions(message_of(bmp_bytes(3, 1, 4, palette, {0x10, 0x20, 0, 0})), {"colour 2", "palette of 2"});
  check_mentions(message_of(bmp_bytes(2, 1, 1, {1, 2, 3, 0}, {0x40, 0, 0, 0})), {"colour 1", "palette of 1"});
  check_mentions(message_of(bmp_bytes(2, 1, 8, {}, {1, 2, 0, 0})), {"no palette"});
  check_mentions(message_of(bmp_bytes(0, 1, 24, {}, {})), {"1×0"});
  check_mentions(message_of(bmp_bytes(20000, 20000, 24, {}, {})), {"more than 268435456 pixels"});
  check_mentions(message_of(bmp_bytes(10000, 10000, 24, {}, {})), {"cut off", "300000054"});
  check_mentions(message_of(bmp_bytes(1, INT32_MIN, 24, {}, {})), {"pixels"});
  check_mentions(message_of(bmp_bytes(1, 1, 0, {}, {0, 0, 0, 0})), {"0 bits per pixel"});
  Bytes one_used = bmp_bytes(2, 1, 8, palette, {1, 0, 0, 0});
  one_used[46] = 1;
  check_mentions(message_of(one_used), {"colour 1", "palette of 1"});
  Bytes os2{'B', 'M', 32, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 12, 0, 0, 0, 1, 0, 1, 0, 1, 0, 8, 0, 1, 2, 0, 0, 0, 0};
  check_mentions(message_of(os2), {"OS/2"});
  Bytes packed = bmp_bytes(2, 1, 8, palette, {1, 0, 0, 0});
  packed[30] = 1;
  check_mentions(message_of(packed), {"compressed"});
  Bytes inside = bmp_bytes(2, 1, 24, {}, Bytes(8));
  inside[10] = 20;
  check_mentions(message_of(inside), {"byte 20", "header"});
}

TEST_CASE("TGA: colour, grey, palettes and runs") {
  CHECK(pixels_of(tga_bytes({2, 1, 2, 24, 0x20, 0, 0, {1, 2, 3, 4, 5, 6}})) == Bytes{3, 2, 1, 6, 5, 4});
  CHECK(pixels_of(tga_bytes({1, 2, 3, 8, 0x20, 0, 0, {7, 8}})) == Bytes{7, 8});
  CHECK(pixels_of(tga_bytes({1, 2, 3, 8, 0, 0, 0, {7, 8}})) == Bytes{8, 7});  // from the bottom
  check_size_is(tga_bytes({1, 2, 3, 8, 0, 0, 0, {7, 8}}), 2, 1, 1);
  const TgaParts indexed{2, 1, 1, 8, 0x20, 2, 24, {1, 2, 3, 4, 5, 6, 1, 0}};
  check_size_is(tga_bytes(indexed), 1, 2, 3);
  CHECK(pixels_of(tga_bytes(indexed)) == Bytes{6, 5, 4, 3, 2, 1});
  const TgaParts runs{5, 1, 11, 8, 0x20, 0, 0, {0x82, 9, 0x01, 4, 5}};
  CHECK(pixels_of(tga_bytes(runs)) == Bytes{9, 9, 9, 4, 5});
  check_cuts(tga_bytes(indexed));
  check_cuts(tga_bytes(runs));
  check_cuts(tga_bytes({2, 1, 2, 24, 0x20, 0, 0, {1, 2, 3, 4, 5, 6}}));
  // Five bits each of red, green and blue, from the upper end of two bytes on.
  for (const uint8_t bits : {15, 16}) {
    const Bytes two_bytes = tga_bytes({1, 2, 2, bits, 0x20, 0, 0, {0x00, 0x7c, 0x1f, 0x00}});
    CHECK(pixels_of(two_bytes) == Bytes{255, 0, 0, 0, 0, 255});
    check_cuts(two_bytes);
  }
  Bytes named = tga_bytes({1, 2, 3, 8, 0x20, 0, 0, {'i', 'd', 7, 8}});
  named[0] = 2;  // bytes of a name before the pixels
  CHECK(pixels_of(named) == Bytes{7, 8});
  check_cuts(named);
}

TEST_CASE("bad TGA are refused") {
  check_mentions(message_of(tga_bytes({2, 1, 1, 8, 0x20, 2, 24, {1, 2, 3, 4, 5, 6, 1, 2}})),
                 {"the/file", "colour 2", "palette of 2"});
  check_mentions(message_of(tga_bytes({2, 1, 9, 8, 0x20, 2, 24, {1, 2, 3, 4, 5, 6, 0x81, 2}})),
                 {"colour 2", "palette of 2"});
  check_mentions(message_of(tga_bytes({2, 1, 11, 8, 0x20, 0, 0, {0x82, 9}})), {"run of 3"});
  check_mentions(message_of(tga_bytes({0, 1, 2, 24, 0x20, 0, 0, {}})), {"1×0"});
  check_mentions(message_of(tga_bytes({60000, 60000, 10, 24, 0x20, 0, 0, {}})), {"more than"});
  check_mentions(message_of(tga_bytes({10000, 10000, 10, 24, 0x20, 0, 0, {}})), {"cut off"});
  check_mentions(message_of(tga_bytes({2, 1, 3, 8, 0x30, 0, 0, {7, 8}})), {"right to left"});
  check_mentions(message_of(tga_bytes({2, 1, 3, 8, 0x60, 0, 0, {7, 8}})), {"no image"});  // interleaved rows
  Bytes shifted = tga_bytes({2, 1, 1, 8, 0x20, 2, 24, {1, 2, 3, 4, 5, 6, 1, 0}});
  shifted[3] = 1;
  check_mentions(message_of(shifted), {"palette"});
}

TEST_CASE("sizes that a small file cannot hold are refused before memory is allocated") {
  check_mentions(message_of(png_bytes({16000, 16000, 8, 2, 0, {0, 1}, {}, {}})), {"cannot hold 16000×16000"});
  check_mentions(message_of(png_bytes({20000, 20000, 8, 2, 0, {0, 1}, {}, {}})), {"more than 268435456 pixels"});
  Bytes jpeg = jpeg_bytes(noise_bytes(64), 8, 8, 1);
  for (size_t at = 2; jpeg[at + 1] != 0xda; at += 2 + jpeg[at + 2] * 256u + jpeg[at + 3])
    if (jpeg[at + 1] == 0xc0) jpeg[at + 5] = jpeg[at + 7] = 0x3e;  // 15880×15880
  check_mentions(message_of(jpeg), {"cannot hold 15880×15880"});
  // Deflate compresses at most 1032 bytes to one.
  const auto row_of = [](uint32_t width) { return png_bytes({width, 1, 8, 0, 0, {0, 1}, {}, {}}); };
  const auto bytes = static_cast<uint32_t>(row_of(1).size());
  CHECK(image_size(row_of(1032 * bytes + 1031), "file").width == 1032 * bytes + 1031);
  check_mentions(error_of([&] { image_size(row_of(1032 * (bytes + 1)), "file"); }), {"cut off"});
  // At least one bit for each block of 8×8 pixels: as many blocks as the file has bits, and one byte of them more.
  Bytes flat = jpeg_bytes(Bytes(64, 128), 8, 8, 1);
  const auto bits = static_cast<int64_t>(8 * flat.size());
  const auto with_blocks = [&](int64_t blocks) {
    for (size_t at = 2; flat[at + 1] != 0xda; at += 2 + flat[at + 2] * 256u + flat[at + 3])
      if (flat[at + 1] == 0xc0) {
        flat[at + 7] = static_cast<uint8_t>(8 * blocks >> 8);
        flat[at + 8] = static_cast<uint8_t>(8 * blocks);
      }
    return flat;
  };
  REQUIRE(8 * bits + 64 < 65536);
  CHECK(image_size(with_blocks(bits), "file").width == 8 * bits);
  check_mentions(error_of([&] { image_size(with_blocks(bits + 8), "file"); }), {"cut off"});
  check_mentions(error_of([] { image_size(tga_bytes({10000, 10000, 10, 24, 0x20, 0, 0, {}}), "file"); }), {"cut off"});
}

TEST_CASE("channels as requested: grey is repeated, colour is weighted") {
  CHECK(pixels_of(pnm("P5 2 1 255\n", {9, 200}), 3) == Bytes{9, 9, 9, 200, 200, 200});
  const Bytes colour{255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255};
  CHECK(pixels_of(png_of(colour, 1, 4, 3), 1) == Bytes{76, 149, 28, 255});
  CHECK(decode_image(png_of(colour, 1, 4, 3), "file", 1).size.channels == 1);
}

TEST_CASE("formats that are not read are named, and every image is recognised as one") {
  const std::string webp("RIFF\x10\0\0\0WEBPVP8 ", 16);
  check_mentions(message_of(text_bytes(webp)), {"the/file", "WebP", "PNG"});
  check_mentions(message_of(text_bytes("GIF89a..........")), {"GIF"});
  check_mentions(message_of(text_bytes(std::string("II*\0....", 8))), {"TIFF"});
  check_mentions(message_of(text_bytes("S\x80\xf6\x34" + std::string(100, ' '))), {"Softimage"});
  check_mentions(message_of(text_bytes("no picture at all")), {"no image"});
  check_mentions(message_of({}), {"empty"});
  CHECK(is_image_content(text_bytes(webp)));
  CHECK(is_image_content(png_of({1}, 1, 1, 1)));
  CHECK(is_image_content(tga_bytes({2, 1, 3, 8, 0x20, 0, 0, {7, 8}})));
  CHECK_FALSE(is_image_content(text_bytes("Images of ants and bees, taken in 2019")));
  CHECK_FALSE(is_image_content({}));
  const Bytes beginning = text_bytes(webp);
  CHECK_FALSE(is_image_content(std::span(beginning).first(11)));  // the name of the format ends at byte 12
  for (const char* name : {"a.png", "a.JPG", "a.jpeg", "a.jfif", "a.ppm", "a.webp", "a.gif", "a.TIF", "a.heic"})
    CHECK(is_image_name(name));
  for (const char* name : {"README.txt", "labels.csv", "Thumbs.db", "png", ""}) CHECK_FALSE(is_image_name(name));
}
