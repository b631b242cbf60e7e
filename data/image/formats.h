// The functions of each image format that image.cpp calls. They throw Error with the reason only; image.cpp adds the
// name.
#pragma once

#include <cstdint>
#include <span>

#include <noisysgd/data/image/image.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd::image {

using Bytes = std::span<const uint8_t>;

struct Header {
  int64_t height = 0, width = 0, channels = 0;  // as stored
  int orientation = 1;                          // as in EXIF: 1 to 8
};

struct Format {
  bool (*matches)(Bytes);
  // Throws Error if the file is too short for the size that it states, so a small file cannot cause a large allocation.
  Header (*header)(Bytes);
  void (*decode)(Bytes, const Header&, uint8_t* pixels);  // [height, width, channels] of the header
};

extern const Format png, jpeg, bmp, tga, pnm;

inline void check_size(int64_t height, int64_t width) {
  NSGD_CHECK(height > 0 && width > 0, "its size is {}×{} (height × width)", height, width);
  NSGD_CHECK(height <= largest_image / width, "{}×{} (height × width) are more than {} pixels", height, width,
             largest_image);
}

inline void check_length(Bytes bytes, int64_t needed) {
  NSGD_CHECK(static_cast<int64_t>(bytes.size()) >= needed, "the file is cut off: {} bytes of {}", bytes.size(), needed);
}

inline int64_t little_endian(Bytes bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i-- > 0;) value = value << 8 | bytes[at + i];
  return static_cast<int64_t>(value);
}

// The orientation (1 to 8) in the TIFF structure of EXIF data; 1 if there is no valid one.
int exif_orientation(Bytes tiff);

// Decodes with stb_image. The caller must have checked the header.
void decode_by_stb(Bytes bytes, const Header& header, uint8_t* pixels);

}  // namespace noisysgd::image
