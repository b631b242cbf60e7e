// Decodes PNG with libpng, which checks the CRC of every chunk. It reports errors by longjmp, so the frames that a jump
// leaves must hold no object with a destructor.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include <noisysgd/data/image/formats.h>

namespace noisysgd::image {
namespace {

class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_error);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    const bool started = info_ != nullptr;
    if (started && try_header()) return;
    destroy();
    throw Error(started ? message_ : "libpng cannot start");
  }
  ~Reader() { destroy(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Header header() const {
    Header header;
    header.height = png_get_image_height(png_, info_);
    header.width = png_get_image_width(png_, info_);
    check_size(header.height, header.width);
    const int64_t row = (header.width * png_get_bit_depth(png_, info_) * png_get_channels(png_, info_) + 7) / 8;
    constexpr int64_t kLargestRatio = 1032;  // of deflate: decompressed over compressed size
    NSGD_CHECK(header.height * row / kLargestRatio <= static_cast<int64_t>(bytes_.size()),
               "the file is cut off: {} bytes cannot hold {}×{} pixels", bytes_.size(), header.height, header.width);
    header.channels = is_grey() ? 1 : 3;
    png_uint_32 size = 0;
    png_bytep exif = nullptr;
    if (png_get_eXIf_1(png_, info_, &size, &exif) != 0) header.orientation = exif_orientation({exif, size});
    return header;
  }

  void decode(const Header& header, uint8_t* pixels) {
    const bool palette = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE;
    std::vector<uint8_t> indices(static_cast<size_t>(palette ? header.height * header.width : 0));
    uint8_t* const first = palette ? indices.data() : pixels;
    const int64_t row = header.width * (palette ? 1 : header.channels);
    std::vector<uint8_t*> rows;
    for (int64_t y = 0; y < header.height; ++y) rows.push_back(first + y * row);
    NSGD_CHECK(try_rows(rows.data(), static_cast<size_t>(row)), "{}", message_);
    if (palette) look_up(indices, pixels);
  }

 private:
  bool is_grey() const { return (png_get_color_type(png_, info_) & PNG_COLOR_MASK_COLOR) == 0; }
  void destroy() { png_destroy_read_struct(&png_, &info_, nullptr); }

  bool try_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, on_read);
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    // Ignores the content of ancillary chunks, which may be invalid and make libpng warn. Their CRCs are still checked.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, reinterpret_cast<const png_byte*>("tRNS"), 1);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_AS_DEFAULT, reinterpret_cast<const png_byte*>("eXIf"), 1);
    png_read_info(png_, info_);
    return true;
  }

  bool try_rows(uint8_t** rows, size_t row_bytes) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_packing(png_);
    if (is_grey()) png_set_expand_gray_1_2_4_to_8(png_);
    png_set_scale_16(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != row_bytes) png_error(png_, "its rows have an unexpected length");
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

  // Not left to libpng, which checks palette indices only if it was built to.
  void look_up(std::span<const uint8_t> indices, uint8_t* pixels) const {
    png_colorp palette = nullptr;
    int colours = 0;
    png_get_PLTE(png_, info_, &palette, &colours);
    for (const uint8_t index : indices) {
      NSGD_CHECK(index < colours, "a pixel has colour {} of a palette of {}", index, colours);
      *pixels++ = palette[index].red;
      *pixels++ = palette[index].green;
      *pixels++ = palette[index].blue;
    }
  }

  // Also receives warnings: the remaining ones concern the pixels.
  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto& reader = *static_cast<Reader*>(png_get_error_ptr(png));
    std::strncpy(reader.message_, message, sizeof reader.message_ - 1);
    png_longjmp(png, 1);
  }

  static void on_read(png_structp png, png_bytep to, size_t count) {
    auto& reader = *static_cast<Reader*>(png_get_io_ptr(png));
    if (count > reader.bytes_.size() - reader.at_) png_error(png, "the file is cut off");
    std::memcpy(to, reader.bytes_.data() + reader.at_, count);
    reader.at_ += count;
  }

  Bytes bytes_;
  size_t at_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  char message_[256] = "";
};

bool matches(Bytes bytes) {
  constexpr uint8_t kSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  return bytes.size() >= sizeof kSignature && std::equal(std::begin(kSignature), std::end(kSignature), bytes.begin());
}

}  // namespace

const Format png{matches, [](Bytes bytes) { return Reader(bytes).header(); },
                 [](Bytes bytes, const Header& header, uint8_t* pixels) { Reader(bytes).decode(header, pixels); }};

}  // namespace noisysgd::image
