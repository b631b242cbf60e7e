#include <noisysgd/data/contact_sheet.h>

#include <stb_image_write.h>

#include <algorithm>
#include <cstring>

#include <noisysgd/data/file.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

void write_contact_sheet(const Dataset& dataset, int columns, int rows, int scale, const std::filesystem::path& path) {
  constexpr uint8_t kLine = 128;
  NSGD_CHECK(columns > 0 && rows > 0 && scale > 0, "contact sheet: {} columns, {} rows, scale {}; expected at least 1",
             columns, rows, scale);
  NSGD_CHECK(dataset.channels == 1 || dataset.channels == 3, "{}: {} channels cannot be shown, expected 1 or 3",
             dataset.name, dataset.channels);
  const int64_t C = dataset.channels, cell_height = dataset.height * scale + 1, cell_width = dataset.width * scale + 1;
  const int64_t sheet_height = rows * cell_height + 1, sheet_width = columns * cell_width + 1;
  std::vector<uint8_t> sheet(static_cast<size_t>(sheet_height * sheet_width * C), kLine);
  for (int64_t i = 0; i < std::min<int64_t>(dataset.count, int64_t{columns} * rows); ++i) {
    const auto image = dataset.image(i);
    const int64_t top = 1 + i / columns * cell_height, left = 1 + i % columns * cell_width;
    for (int64_t y = 0; y < dataset.height * scale; ++y)
      for (int64_t x = 0; x < dataset.width * scale; ++x)
        std::memcpy(&sheet[static_cast<size_t>(((top + y) * sheet_width + left + x) * C)],
                    &image[static_cast<size_t>((y / scale * dataset.width + x / scale) * C)], static_cast<size_t>(C));
  }
  std::vector<uint8_t> png;
  const auto append = [](void* context, void* data, int size) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    static_cast<std::vector<uint8_t>*>(context)->insert(static_cast<std::vector<uint8_t>*>(context)->end(), bytes,
                                                        bytes + size);
  };
  const int written =
      stbi_write_png_to_func(append, &png, static_cast<int>(sheet_width), static_cast<int>(sheet_height),
                             static_cast<int>(C), sheet.data(), static_cast<int>(sheet_width * C));
  NSGD_CHECK(written != 0, "{}: the picture cannot be encoded", path.string());
  write_file(path, png);
}

}  // namespace noisysgd
