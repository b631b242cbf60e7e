// Image files built byte by byte, valid or deliberately invalid.
#pragma once

#include <cstdio>  // jpeglib.h uses FILE without it

#include <jpeglib.h>
#include <zlib.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "tests/data/bytes.h"

namespace noisysgd::testing {

inline Bytes text_bytes(const std::string& text) { return {text.begin(), text.end()}; }

inline void append_big_endian(Bytes& to, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<uint8_t>(value >> shift));
}

inline void append_little_endian(Bytes& to, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

inline Bytes png_chunk(const std::string& type, const Bytes& data) {
  Bytes checked = text_bytes(type), chunk;
  append(checked, data);
  append_big_endian(chunk, static_cast<uint32_t>(data.size()));
  append(chunk, checked);
  append_big_endian(chunk, static_cast<uint32_t>(crc32(0, checked.data(), static_cast<uInt>(checked.size()))));
  return chunk;
}

struct PngParts {
  uint32_t width = 0, height = 0;
  uint8_t depth = 8, type = 0,
          interlace = 0;  // type: 0 grey, 2 colour, 3 palette, 4 grey and alpha, 6 colour and alpha
  Bytes scanlines;        // each begins with its filter, 0
  Bytes before_data;      // further chunks
  Bytes after_data;
};

inline Bytes png_bytes(const PngParts& parts) {
  Bytes header, compressed(compressBound(static_cast<uLong>(parts.scanlines.size())));
  append_big_endian(header, parts.width);
  append_big_endian(header, parts.height);
  append(header, {parts.depth, parts.type, 0, 0, parts.interlace});
  uLongf length = static_cast<uLongf>(compressed.size());
  REQUIRE(compress(compressed.data(), &length, parts.scanlines.data(), static_cast<uLong>(parts.scanlines.size())) ==
          Z_OK);
  compressed.resize(length);
  Bytes png{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  append(png, png_chunk("IHDR", header));
  append(png, parts.before_data);
  append(png, png_chunk("IDAT", compressed));
  append(png, parts.after_data);
  append(png, png_chunk("IEND", {}));
  return png;
}

// Rows of row_bytes bytes with the filter "none" before each.
inline Bytes scanlines(const Bytes& rows, size_t row_bytes) {
  Bytes lines;
  for (size_t at = 0; at < rows.size(); at += row_bytes) {
    lines.push_back(0);
    lines.insert(lines.end(), rows.begin() + static_cast<int64_t>(at),
                 rows.begin() + static_cast<int64_t>(at + row_bytes));
  }
  return lines;
}

inline Bytes png_of(const Bytes& pixels, uint32_t height, uint32_t width, uint32_t channels) {
  return png_bytes(
      {width, height, 8, static_cast<uint8_t>(channels == 1 ? 0 : 2), 0, scanlines(pixels, width * channels), {}, {}});
}

// TIFF data of one entry, the orientation, in either byte order.
inline Bytes exif(uint16_t orientation, bool big = true) {
  return big ? Bytes{'M',
                     'M',
                     0,
                     42,
                     0,
                     0,
                     0,
                     8,
                     0,
                     1,
                     1,
                     0x12,
                     0,
                     3,
                     0,
                     0,
                     0,
                     1,
                     static_cast<uint8_t>(orientation >> 8),
                     static_cast<uint8_t>(orientation),
                     0,
                     0,
                     0,
                     0,
                     0,
                     0}
             : Bytes{'I',
                     'I',
                     42,
                     0,
                     8,
                     0,
                     0,
                     0,
                     1,
                     0,
                     0x12,
                     1,
                     3,
                     0,
                     1,
                     0,
                     0,
                     0,
                     static_cast<uint8_t>(orientation),
                     static_cast<uint8_t>(orientation >> 8),
                     0,
                     0,
                     0,
                     0,
                     0,
                     0};
}

// channels: 1 grey, 3 colour, 4 CMYK. prepare: last settings before the compression starts.
inline Bytes jpeg_bytes(const Bytes& pixels, uint32_t height, uint32_t width, int channels,
                        const std::function<void(jpeg_compress_struct&)>& prepare = {}, const Bytes& tiff = {}) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &buffer, &size);
  info.image_width = width;
  info.image_height = height;
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  if (prepare) prepare(info);
  jpeg_start_compress(&info, TRUE);
  if (!tiff.empty()) {
    Bytes marker{'E', 'x', 'i', 'f', 0, 0};
    append(marker, tiff);
    jpeg_write_marker(&info, JPEG_APP0 + 1, marker.data(), static_cast<unsigned>(marker.size()));
  }
  while (info.next_scanline < height) {
    auto* row = const_cast<uint8_t*>(pixels.data()) + info.next_scanline * width * static_cast<uint32_t>(channels);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Bytes bytes(buffer, buffer + size);
  std::free(buffer);
  return bytes;
}

// A Windows bitmap: `rows` from the bottom up, each padded to 4 bytes.
inline Bytes bmp_bytes(uint32_t width, int32_t height, uint16_t bits, const Bytes& palette, const Bytes& rows) {
  const auto offset = static_cast<uint32_t>(54 + palette.size());
  Bytes bmp{'B', 'M'};
  append_little_endian(bmp, offset + static_cast<uint32_t>(rows.size()), 4);
  append_little_endian(bmp, 0, 4);
  append_little_endian(bmp, offset, 4);
  append_little_endian(bmp, 40, 4);
  append_little_endian(bmp, width, 4);
  append_little_endian(bmp, static_cast<uint32_t>(height), 4);
  append_little_endian(bmp, 1, 2);
  append_little_endian(bmp, bits, 2);
  for (int i = 0; i < 6; ++i) append_little_endian(bmp, 0, 4);
  append(bmp, palette);
  append(bmp, rows);
  return bmp;
}

struct TgaParts {
  uint16_t width = 0, height = 0;
  uint8_t type = 2, bits = 24, descriptor = 0x20;  // from the top
  uint16_t colours = 0;
  uint8_t colour_bits = 0;
  Bytes data;  // palette and pixels
};

inline Bytes tga_bytes(const TgaParts& parts) {
  Bytes tga{0, static_cast<uint8_t>(parts.colours > 0), parts.type, 0, 0};
  append_little_endian(tga, parts.colours, 2);
  append(tga, {parts.colour_bits, 0, 0, 0, 0});
  append_little_endian(tga, parts.width, 2);
  append_little_endian(tga, parts.height, 2);
  append(tga, {parts.bits, parts.descriptor});
  append(tga, parts.data);
  return tga;
}

}  // namespace noisysgd::testing
