// Decodes JPEG with libjpeg-turbo. It reports errors by longjmp, so the frames that a jump leaves must hold no object
// with a destructor. Its warnings are treated as errors, because they mean damaged or truncated data.
#include <cstdio>  // jpeglib.h uses FILE but does not include this

#include <jpeglib.h>

#include <csetjmp>
#include <cstring>

#include <noisysgd/data/image/formats.h>

namespace noisysgd::image {
namespace {

struct Failure {
  jpeg_error_mgr manager;  // first member: a pointer to it is a pointer to the Failure
  std::jmp_buf place;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto& failure = *reinterpret_cast<Failure*>(info->err);
  failure.manager.format_message(info, failure.message);
  std::longjmp(failure.place, 1);
}

void on_message(j_common_ptr info, int level) {
  if (level < 0) on_error(info);
}

// Limits the number of scans: a small progressive file can hold thousands of passes over a large image.
void on_progress(j_common_ptr info) {
  constexpr int kMostScans = 500;
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMostScans) return;
  auto& failure = *reinterpret_cast<Failure*>(info->err);
  std::strcpy(failure.message, "it has more than 500 scans");
  std::longjmp(failure.place, 1);
}

class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {
    info_.err = jpeg_std_error(&failure_.manager);
    failure_.manager.error_exit = on_error;
    failure_.manager.emit_message = on_message;
    progress_.progress_monitor = on_progress;
    if (try_header()) return;
    jpeg_destroy_decompress(&info_);
    throw Error(failure_.message);
  }
  ~Reader() { jpeg_destroy_decompress(&info_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Header header() const {
    Header header;
    header.height = info_.image_height;
    header.width = info_.image_width;
    check_size(header.height, header.width);
    NSGD_CHECK(info_.num_components == 1 || info_.num_components == 3 || info_.num_components == 4,
               "{} components, expected 1 (grey), 3 (colour) or 4 (CMYK)", info_.num_components);
    NSGD_CHECK(!info_.arith_code, "arithmetic coding is not read; save it with Huffman coding");
    int64_t blocks = 0;  // each takes at least one bit
    for (int c = 0; c < info_.num_components; ++c)
      blocks += int64_t{info_.comp_info[c].width_in_blocks} * info_.comp_info[c].height_in_blocks;
    NSGD_CHECK(blocks / 8 <= static_cast<int64_t>(bytes_.size()),
               "the file is cut off: {} bytes cannot hold {}×{} pixels", bytes_.size(), header.height, header.width);
    header.channels = info_.num_components == 1 ? 1 : 3;
    constexpr size_t kName = 6;
    for (auto* marker = info_.marker_list; marker != nullptr; marker = marker->next)
      if (marker->data_length > kName && std::memcmp(marker->data, "Exif\0\0", kName) == 0) {
        header.orientation = exif_orientation({marker->data + kName, marker->data_length - kName});
        break;
      }
    return header;
  }

  void decode(const Header& header, uint8_t* pixels) {
    std::vector<uint8_t> ink(static_cast<size_t>(info_.num_components == 4 ? header.width * 4 : 0));
    const auto row = static_cast<size_t>(header.width * header.channels);
    NSGD_CHECK(try_rows(pixels, row, ink.empty() ? nullptr : ink.data()), "{}", failure_.message);
  }

 private:
  bool try_header() {
    if (setjmp(failure_.place) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, bytes_.data(), bytes_.size());
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  bool try_rows(uint8_t* pixels, size_t row_bytes, uint8_t* ink) {
    if (setjmp(failure_.place) != 0) return false;
    info_.out_color_space = ink != nullptr ? JCS_CMYK : info_.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      uint8_t* const row = pixels + info_.output_scanline * row_bytes;
      JSAMPROW target = ink != nullptr ? ink : row;
      jpeg_read_scanlines(&info_, &target, 1);
      if (ink != nullptr) mix(ink, row);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  // CMYK to RGB: channel = (255 - ink) (255 - black) / 255. Files with an Adobe marker store the inks inverted (255: no
  // ink).
  void mix(const uint8_t* ink, uint8_t* row) const {
    const int flip = info_.saw_Adobe_marker ? 0 : 255;
    for (JDIMENSION x = 0; x < info_.output_width; ++x)
      for (int c = 0; c < 3; ++c)
        row[x * 3 + static_cast<JDIMENSION>(c)] = static_cast<uint8_t>(
            ((ink[x * 4 + static_cast<JDIMENSION>(c)] ^ flip) * (ink[x * 4 + 3] ^ flip) + 127) / 255);
  }

  Bytes bytes_;
  Failure failure_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct info_{};
};

bool matches(Bytes bytes) { return bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff; }

}  // namespace

const Format jpeg{matches, [](Bytes bytes) { return Reader(bytes).header(); },
                  [](Bytes bytes, const Header& header, uint8_t* pixels) { Reader(bytes).decode(header, pixels); }};

}  // namespace noisysgd::image
