// Compiles stb's image reader (BMP and TGA only) and writer. Allocations are zeroed, so pixels that the reader does not
// write are the same in every run.
#include <cstdlib>

#include <noisysgd/data/image/formats.h>

#define STBI_MALLOC(size) std::calloc(1, size)
#define STBI_REALLOC(pointer, size) std::realloc(pointer, size)
#define STBI_FREE(pointer) std::free(pointer)
#define STBI_ONLY_BMP
#define STBI_ONLY_TGA
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS (1 << 28)
#define STBI_FAILURE_USERMSG
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>

#include <algorithm>
#include <climits>
#include <memory>

namespace noisysgd::image {

void decode_by_stb(Bytes bytes, const Header& header, uint8_t* pixels) {
  NSGD_CHECK(bytes.size() <= INT_MAX, "the file has {} bytes, expected at most {}", bytes.size(), INT_MAX);
  int width = 0, height = 0, present = 0;
  const std::unique_ptr<uint8_t, decltype(&stbi_image_free)> decoded(
      stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &present,
                            static_cast<int>(header.channels)),
      stbi_image_free);
  NSGD_CHECK(decoded != nullptr, "{}", stbi_failure_reason());
  NSGD_CHECK(height == header.height && width == header.width, "its header is contradictory");
  std::copy_n(decoded.get(), header.height * header.width * header.channels, pixels);
}

}  // namespace noisysgd::image
