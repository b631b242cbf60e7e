// Images: decoding gives the sizes of the header, and two readings are equal.
#include <cstdlib>

#include <noisysgd/data/image/image.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  return fuzz::result_or_error([&] {
    const std::span<const uint8_t> bytes(data, size);
    const ImageSize expected = image_size(bytes, "input");
    if (expected.height * expected.width > 1 << 22) return;  // a valid large image takes long
    const Image first = decode_image(bytes, "input"), second = decode_image(bytes, "input");
    if (first.size.height != expected.height || first.size.width != expected.width ||
        first.size.channels != expected.channels || first.pixels != second.pixels)
      std::abort();
  });
}
