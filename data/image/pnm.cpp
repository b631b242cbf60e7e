// Decodes binary PGM and PPM: a header, then the values without compression.
#include <algorithm>

#include <noisysgd/data/image/formats.h>

namespace noisysgd::image {
namespace {

struct PnmHeader {
  Header image;
  int64_t largest = 0;  // value, which is white
  size_t end = 0;       // of the header; offset of the values
};

bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

PnmHeader parse(Bytes bytes) {
  size_t at = 2;
  const auto number = [&](const char* what) {
    while (at < bytes.size() && (is_space(bytes[at]) || bytes[at] == '#')) {
      if (bytes[at] == '#')
        while (at < bytes.size() && bytes[at] != '\n' && bytes[at] != '\r') ++at;
      else
        ++at;
    }
    int64_t value = 0;
    const size_t first = at;
    for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9'; ++at) {
      value = value * 10 + (bytes[at] - '0');
      NSGD_CHECK(value <= largest_image, "its {} is more than {}", what, largest_image);
    }
    NSGD_CHECK(at > first, "its header has no {}", what);
    return value;
  };
  PnmHeader header;
  header.image.width = number("width");
  header.image.height = number("height");
  header.image.channels = bytes[1] == '5' ? 1 : 3;
  header.largest = number("largest value");
  check_size(header.image.height, header.image.width);
  NSGD_CHECK(header.largest >= 1 && header.largest <= 65535, "its largest value is {}, expected 1 to 65535",
             header.largest);
  NSGD_CHECK(at < bytes.size() && is_space(bytes[at]), "its header does not end with a space or a line break");
  header.end = at + 1;
  const int64_t values = header.image.height * header.image.width * header.image.channels;
  const int64_t needed = static_cast<int64_t>(header.end) + values * (header.largest > 255 ? 2 : 1);
  check_length(bytes, needed);
  NSGD_CHECK(static_cast<int64_t>(bytes.size()) == needed, "{} bytes follow the end of the image",
             static_cast<int64_t>(bytes.size()) - needed);
  return header;
}

void decode(Bytes bytes, const Header& image, uint8_t* pixels) {
  const PnmHeader header = parse(bytes);
  const uint8_t* at = bytes.data() + header.end;
  for (int64_t left = image.height * image.width * image.channels; left > 0; --left) {
    int64_t value = *at++;
    if (header.largest > 255) value = value << 8 | *at++;
    NSGD_CHECK(value <= header.largest, "a value is {}, but the header says at most {}", value, header.largest);
    *pixels++ = static_cast<uint8_t>((value * 255 + header.largest / 2) / header.largest);
  }
}

bool matches(Bytes bytes) {
  return bytes.size() >= 3 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6') &&
         (is_space(bytes[2]) || bytes[2] == '#');
}

}  // namespace

const Format pnm{matches, [](Bytes bytes) { return parse(bytes).image; }, decode};

}  // namespace noisysgd::image
