#include <noisysgd/data/image/image.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include <noisysgd/data/image/formats.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

using image::Bytes, image::Format, image::Header;

constexpr std::array kFormats{&image::png, &image::jpeg, &image::bmp, &image::pnm, &image::tga};

struct Signature {
  size_t offset;
  std::string_view bytes;
  const char* name;
};

using namespace std::string_view_literals;

// Formats that are recognised but not supported.
constexpr Signature kUnread[]{
    {8, "WEBP"sv, "a WebP"},
    {0, "GIF8"sv, "a GIF"},
    {0, "II*\0"sv, "a TIFF"},
    {0, "MM\0*"sv, "a TIFF"},
    {4, "ftypavif"sv, "an AVIF"},
    {4, "ftyphei"sv, "a HEIC"},
    {4, "ftypmif1"sv, "a HEIF"},
    {0, "\0\0\0\x0cjP  "sv, "a JPEG 2000"},
    {0, "\0\0\0\x0cJXL "sv, "a JPEG XL"},
    {0, "8BPS"sv, "a Photoshop"},
    {0, "S\x80\xf6\x34"sv, "a Softimage PIC"},
    {0, "#?RADIANCE"sv, "a Radiance"},
};

// File name extensions; those of the supported formats come first.
constexpr std::string_view kEndings[]{".png",  ".jpg",  ".jpeg", ".jpe",  ".jfif", ".bmp", ".dib",  ".tga",
                                      ".pgm",  ".ppm",  ".pnm",  ".webp", ".gif",  ".tif", ".tiff", ".heic",
                                      ".heif", ".avif", ".jxl",  ".jp2",  ".psd",  ".pbm", ".pam",  ".pfm"};

const char* unread_format(Bytes bytes) {
  for (const auto& signature : kUnread)
    if (bytes.size() >= signature.offset + signature.bytes.size() &&
        std::memcmp(bytes.data() + signature.offset, signature.bytes.data(), signature.bytes.size()) == 0)
      return signature.name;
  return nullptr;
}

const Format* find_format(Bytes bytes) {
  const auto found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](auto* format) { return format->matches(bytes); });
  return found == kFormats.end() ? nullptr : *found;
}

const Format& format_of(Bytes bytes) {
  NSGD_CHECK(!bytes.empty(), "the file is empty");
  const char* unread = unread_format(bytes);
  NSGD_CHECK(unread == nullptr, "it is {} image; save it as PNG", unread);
  const Format* format = find_format(bytes);
  NSGD_CHECK(format != nullptr, "it is no image in PNG, JPEG, BMP, TGA or binary PGM or PPM");
  return *format;
}

// Applies the EXIF orientation: the first row becomes the top and the first column the left side.
std::vector<uint8_t> oriented(const std::vector<uint8_t>& stored, const Header& header) {
  const int turn = header.orientation;
  const bool swaps = turn >= 5;
  const bool from_bottom = turn == 3 || turn == 4 || turn == 6 || turn == 7;
  const bool from_right = turn == 2 || turn == 3 || turn == 7 || turn == 8;
  const int64_t height = swaps ? header.width : header.height, width = swaps ? header.height : header.width;
  std::vector<uint8_t> pixels(stored.size());
  uint8_t* to = pixels.data();
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      int64_t row = swaps ? x : y, column = swaps ? y : x;
      if (from_bottom) row = header.height - 1 - row;
      if (from_right) column = header.width - 1 - column;
      const uint8_t* from = stored.data() + (row * header.width + column) * header.channels;
      to = std::copy_n(from, header.channels, to);
    }
  return pixels;
}

ImageSize size_of(const Header& header) {
  const bool swaps = header.orientation >= 5;
  return {swaps ? header.width : header.height, swaps ? header.height : header.width, header.channels};
}

void convert(Image& image, int64_t channels) {
  const auto count = static_cast<size_t>(image.size.height * image.size.width);
  std::vector<uint8_t> pixels(count * static_cast<size_t>(channels));
  for (size_t i = 0; i < count; ++i)
    if (channels == 1) {
      const uint8_t* colour = &image.pixels[i * 3];
      pixels[i] = static_cast<uint8_t>((77 * colour[0] + 150 * colour[1] + 29 * colour[2]) >> 8);
    } else {
      std::fill_n(&pixels[i * 3], 3, image.pixels[i]);
    }
  image.pixels = std::move(pixels);
  image.size.channels = channels;
}

template <class Function>
auto named(const std::string& name, Function function) {
  try {
    return function();
  } catch (const Error& error) {
    throw Error(fmt::format("{}: cannot be decoded: {}", name, error.what()));
  }
}

}  // namespace

ImageSize image_size(std::span<const uint8_t> bytes, const std::string& name) {
  return named(name, [&] { return size_of(format_of(bytes).header(bytes)); });
}

Image decode_image(std::span<const uint8_t> bytes, const std::string& name, int64_t channels) {
  return named(name, [&] {
    const Format& format = format_of(bytes);
    const Header header = format.header(bytes);
    Image image{size_of(header),
                std::vector<uint8_t>(static_cast<size_t>(header.height * header.width * header.channels))};
    format.decode(bytes, header, image.pixels.data());
    if (header.orientation != 1) image.pixels = oriented(image.pixels, header);
    if (channels != 0 && channels != header.channels) convert(image, channels);
    return image;
  });
}

bool is_image_name(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::find(std::begin(kEndings), std::end(kEndings), ending) != std::end(kEndings);
}

bool is_image_content(std::span<const uint8_t> first_bytes) {
  return unread_format(first_bytes) != nullptr || find_format(first_bytes) != nullptr;
}

}  // namespace noisysgd
