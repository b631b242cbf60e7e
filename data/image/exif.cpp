#include <noisysgd/data/image/formats.h>

namespace noisysgd::image {

int exif_orientation(Bytes tiff) {
  constexpr size_t kEntry = 12;
  constexpr uint64_t kOrientation = 0x0112, kShort = 3;
  if (tiff.size() < 8) return 1;
  const bool big = tiff[0] == 'M';
  const auto number = [&](size_t at, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i) value = value << 8 | tiff[at + (big ? i : count - 1 - i)];
    return value;
  };
  if (tiff[1] != tiff[0] || (tiff[0] != 'M' && tiff[0] != 'I') || number(2, 2) != 42) return 1;
  const size_t directory = number(4, 4);
  if (directory + 2 > tiff.size()) return 1;
  const size_t entries = number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + i * kEntry;
    if (at + kEntry > tiff.size()) return 1;
    if (number(at, 2) != kOrientation || number(at + 2, 2) != kShort) continue;
    const uint64_t orientation = number(at + 8, 2);
    return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
  }
  return 1;
}

}  // namespace noisysgd::image
