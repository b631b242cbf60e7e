// CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF (RFC 3720, B.4).
#pragma once

#include <cstdint>
#include <string_view>

namespace noisysgd {

std::uint32_t crc32c(std::string_view bytes);

}  // namespace noisysgd
