// Images from bytes that the test puts together: what each format holds, and everything that can be wrong with it.
#include "data/image/image.h"

#include <zlib.h>

#include <cstdio>  // jpeglib.h uses FILE without it

#include <jpeglib.h>

#include <cstdlib>
#include <numeric>

#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;
using noisysgd::test::contains;

namespace {

void big_endian(Bytes& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
}
void little_endian(Bytes& bytes, uint32_t value, int count) {
  for (int i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
}
Bytes text(const std::string& characters) { return {characters.begin(), characters.end()}; }

Bytes chunk(const char* kind, const Bytes& data) {
  Bytes bytes;
  big_endian(bytes, static_cast<uint32_t>(data.size()));
  Bytes body = text(kind);
  append(body, data);
  append(bytes, body);
  big_endian(bytes, static_cast<uint32_t>(crc32(0, body.data(), static_cast<uInt>(body.size()))));
  return bytes;
}

// raw: rows, each after its filter byte.
Bytes png(uint32_t height, uint32_t width, uint8_t depth, uint8_t colour, const Bytes& raw, const Bytes& palette = {}) {
  Bytes bytes{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, header;
  big_endian(header, width);
  big_endian(header, height);
  append(header, {depth, colour, 0, 0, 0});
  append(bytes, chunk("IHDR", header));
  if (!palette.empty()) append(bytes, chunk("PLTE", palette));
  Bytes packed(compressBound(raw.size()));
  uLongf size = packed.size();
  compress(packed.data(), &size, raw.data(), raw.size());
  packed.resize(size);
  append(bytes, chunk("IDAT", packed));
  append(bytes, chunk("IEND", {}));
  return bytes;
}

Bytes bmp(int32_t height, int32_t width, uint16_t bits, const Bytes& palette, const Bytes& rows) {
  Bytes bytes = text("BM");
  const auto offset = static_cast<uint32_t>(54 + palette.size());
  little_endian(bytes, offset + static_cast<uint32_t>(rows.size()), 4);
  little_endian(bytes, 0, 4);
  little_endian(bytes, offset, 4);
  little_endian(bytes, 40, 4);
  little_endian(bytes, static_cast<uint32_t>(width), 4);
  little_endian(bytes, static_cast<uint32_t>(height), 4);
  little_endian(bytes, 1, 2);
  little_endian(bytes, bits, 2);
  for (int i = 0; i < 6; ++i) little_endian(bytes, 0, 4);
  append(bytes, palette);
  append(bytes, rows);
  return bytes;
}

Bytes tga(uint8_t type, uint16_t height, uint16_t width, uint8_t bits, const Bytes& pixels) {
  Bytes bytes{0, 0, type, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  little_endian(bytes, width, 2);
  little_endian(bytes, height, 2);
  append(bytes, {bits, 0x20});  // from the top
  append(bytes, pixels);
  return bytes;
}

// By libjpeg. exif: what follows "Exif\0\0", if anything.
Bytes jpeg(int height, int width, int channels, const Bytes& pixels, bool progressive = false, const Bytes& exif = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  if (!exif.empty()) {
    Bytes marker{'E', 'x', 'i', 'f', 0, 0};
    append(marker, exif);
    jpeg_write_marker(&info, JPEG_APP0 + 1, marker.data(), static_cast<unsigned>(marker.size()));
  }
  for (int y = 0; y < height; ++y) {
    Bytes row(pixels.begin() + y * width * channels, pixels.begin() + (y + 1) * width * channels);
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&info, &pointer, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Bytes bytes(out, out + size);
  std::free(out);
  return bytes;
}

// Without its segments of this kind.
Bytes without(const Bytes& file, uint8_t marker) {
  Bytes kept(file.begin(), file.begin() + 2);
  size_t at = 2;
  for (; file[at + 1] != 0xda;) {
    const size_t size = 2u + (size_t{file[at + 2]} << 8 | file[at + 3]);
    if (file[at + 1] != marker)
      kept.insert(kept.end(), file.begin() + static_cast<int64_t>(at), file.begin() + static_cast<int64_t>(at + size));
    at += size;
  }
  kept.insert(kept.end(), file.begin() + static_cast<int64_t>(at), file.end());
  return kept;
}

std::string error(const Bytes& bytes) {
  return error_of([&] { decode_image(bytes, "x"); });
}

// No part of the file from its beginning is an image, and each is refused by name.
void check_no_part_is_read(const Bytes& file) {
  REQUIRE_NOTHROW(decode_image(file, "x"));
  for (size_t size = 0; size < file.size(); ++size) {
    INFO(size);
    CHECK(error(Bytes(file.begin(), file.begin() + static_cast<int64_t>(size))).starts_with("x: cannot be decoded: "));
  }
}

}  // namespace

TEST_CASE("PNG of every kind gives its pixels in 8 bits") {
  const Image grey = decode_image(png(2, 3, 8, 0, {0, 1, 2, 3, 0, 4, 5, 6}), "x");
  CHECK(grey.size.channels == 1);
  CHECK(grey.pixels == Bytes{1, 2, 3, 4, 5, 6});
  CHECK(decode_image(png(1, 4, 2, 0, {0, 0b00011011}), "x").pixels == Bytes{0, 85, 170, 255});
  CHECK(decode_image(png(1, 2, 16, 0, {0, 0x80, 0x80, 0xff, 0xff}), "x").pixels == Bytes{128, 255});
  CHECK(decode_image(png(1, 2, 8, 4, {0, 10, 0, 20, 255}), "x").pixels == Bytes{10, 20});  // transparency is dropped
  CHECK(decode_image(png(1, 1, 8, 6, {0, 1, 2, 3, 4}), "x").pixels == Bytes{1, 2, 3});
  const Image palette = decode_image(png(1, 2, 8, 3, {0, 1, 0}, {9, 8, 7, 6, 5, 4}), "x");
  CHECK(palette.size.channels == 3);
  CHECK(palette.pixels == Bytes{6, 5, 4, 9, 8, 7});
  CHECK(decode_image(png(1, 1, 8, 2, {0, 10, 20, 30}), "x", 1).pixels == Bytes{(770 + 3000 + 870) / 256});
  CHECK(decode_image(png(1, 1, 8, 0, {0, 10}), "x", 3).pixels == Bytes{10, 10, 10});
}

TEST_CASE("every bit of a PNG that is flipped behind its signature is noticed") {
  const Bytes good = png(2, 3, 8, 0, {0, 1, 2, 3, 0, 4, 5, 6});
  check_no_part_is_read(good);
  for (size_t bit = 8 * 8; bit < 8 * good.size(); ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    INFO(bit);
    CHECK(error(bad).starts_with("x: cannot be decoded: "));
  }
}

TEST_CASE("a colour that the palette does not have is refused") {
  CHECK(error(png(1, 2, 8, 3, {0, 1, 2}, {1, 2, 3, 4, 5, 6})) ==
        "x: cannot be decoded: a pixel has colour 2 of a palette of 2");
  CHECK(error(bmp(1, 4, 8, {1, 2, 3, 0, 4, 5, 6, 0}, {0, 1, 2, 0})) ==
        "x: cannot be decoded: a pixel has colour 2 of a palette of 2");
}

TEST_CASE("JPEG gives its pixels, grey and colour, baseline and progressive") {
  const Bytes pixels = noise_bytes(16 * 24, 3);
  for (const bool progressive : {false, true}) {
    const Image image = decode_image(jpeg(16, 24, 1, pixels, progressive), "x");
    CHECK(image.size.height == 16);
    CHECK(image.size.width == 24);
    REQUIRE(image.pixels.size() == pixels.size());
    for (size_t i = 0; i < pixels.size(); ++i) CHECK(std::abs(int{image.pixels[i]} - int{pixels[i]}) <= 3);
    check_no_part_is_read(jpeg(9, 10, 3, noise_bytes(270, 4), progressive));
  }
}

TEST_CASE("a JPEG without a table that it needs is refused, but for the frames of webcams") {
  constexpr uint8_t huffman = 0xc4, quantisation = 0xdb;
  const Bytes pixels = noise_bytes(768, 5);
  const Bytes baseline = jpeg(16, 16, 3, pixels), progressive = jpeg(16, 16, 3, pixels, true);
  CHECK(error(without(baseline, quantisation)).starts_with("x: cannot be decoded: "));
  CHECK(error(without(progressive, quantisation)).starts_with("x: cannot be decoded: "));
  CHECK(error(without(progressive, huffman)).starts_with("x: cannot be decoded: "));
  // A frame of Motion JPEG has none of its own and means those of the standard, annex K.
  CHECK(decode_image(without(baseline, huffman), "x").pixels == decode_image(baseline, "x").pixels);
}

TEST_CASE("the orientation in EXIF data is applied") {
  // Left half black, right half white; orientation 6: to be turned clockwise, so that the top is black.
  Bytes pixels(8 * 16);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = i % 16 < 8 ? 0 : 255;
  Bytes exif = text("II");
  append(exif, {42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0});
  const Bytes file = jpeg(8, 16, 1, pixels, false, exif);
  CHECK(image_size(file, "x").height == 16);
  const Image image = decode_image(file, "x");
  CHECK(image.size.height == 16);
  CHECK(image.size.width == 8);
  for (size_t i = 0; i < image.pixels.size(); ++i) CHECK((image.pixels[i] > 127) == (i >= 64));
}

TEST_CASE("BMP and TGA give their pixels, and no part of them is one") {
  // Rows from the bottom, blue first, padded to four bytes.
  const Bytes bitmap = bmp(2, 1, 24, {}, {3, 2, 1, 0, 6, 5, 4, 0});
  CHECK(decode_image(bitmap, "x").pixels == Bytes{4, 5, 6, 1, 2, 3});
  check_no_part_is_read(bitmap);
  CHECK(decode_image(bmp(1, 2, 8, {1, 2, 3, 0, 4, 5, 6, 0}, {1, 0, 0, 0}), "x").pixels == Bytes{6, 5, 4, 3, 2, 1});
  const Bytes targa = tga(2, 1, 2, 24, {3, 2, 1, 6, 5, 4});
  CHECK(decode_image(targa, "x").pixels == Bytes{1, 2, 3, 4, 5, 6});
  check_no_part_is_read(targa);
  const Bytes runs = tga(11, 1, 4, 8, {0x82, 7, 0, 9});  // three of one value, one of another
  CHECK(decode_image(runs, "x").pixels == Bytes{7, 7, 7, 9});
  check_no_part_is_read(runs);
}

TEST_CASE("levels of PGM and PPM are scaled to 255") {
  const auto with = [](const std::string& header, const Bytes& values) {
    Bytes bytes = text(header);
    append(bytes, values);
    return bytes;
  };
  CHECK(decode_image(with("P5 2 1 255\n", {7, 200}), "x").pixels == Bytes{7, 200});
  CHECK(decode_image(with("P5\n# a comment\n3 1\n15\n", {0, 1, 15}), "x").pixels == Bytes{0, 17, 255});
  CHECK(decode_image(with("P5 2 1 65535\n", {0x80, 0x80, 0xff, 0xff}), "x").pixels == Bytes{128, 255});
  const Bytes colour = with("P6 1 2 255\n", {1, 2, 3, 4, 5, 6});
  CHECK(decode_image(colour, "x").pixels == Bytes{1, 2, 3, 4, 5, 6});
  check_no_part_is_read(colour);
  CHECK(contains(error(with("P5 1 1 15\n", {16})), "a value is 16"));
  CHECK(contains(error(with("P5 1 1 255\n", {1, 2})), "1 bytes follow"));
  CHECK(contains(error(with("P5 0 1 255\n", {})), "0"));
  CHECK(contains(error(with("P5 1 1 0\n", {0})), "largest value"));
}

TEST_CASE("a size that the file cannot hold is refused before memory is claimed") {
  CHECK(contains(error(bmp(1 << 14, 1 << 14, 24, {}, {})), "cut off"));
  CHECK(contains(error(bmp(1 << 20, 1 << 20, 24, {}, {})), "pixels"));
  CHECK(contains(error(png(1 << 14, 1 << 14, 8, 2, {})), "cut off"));
  CHECK(contains(error(text("P6 16000 16000 255\n")), "cut off"));
  CHECK_FALSE(error(bmp(0, 5, 24, {}, {})).empty());
  Bytes large = jpeg(16, 16, 1, noise_bytes(256, 6));
  for (size_t i = 0; i + 9 < large.size(); ++i)
    if (large[i] == 0xff && large[i + 1] == 0xc0) large[i + 5] = large[i + 7] = 0x3f;  // height and width
  CHECK(contains(error(large), "cut off"));
}

TEST_CASE("formats that are not read are named") {
  CHECK(contains(error(text("GIF89a....")), "a GIF image; save it as PNG"));
  CHECK(contains(error(Bytes{0x53, 0x80, 0xf6, 0x34, 0, 0, 0, 0}), "Softimage"));
  CHECK(contains(error(text("no picture")), "no image in PNG"));
  CHECK(contains(error({}), "empty"));
}
