// The header of a safetensors file: every tensor that it names is within the file.
#include <cstdlib>

#include <noisysgd/core/safetensors.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  return fuzz::result_or_error([&] {
    const SafetensorsHeader header = read_safetensors_header(fuzz::bytes_of(data, size));
    for (const SafetensorsHeader::Entry& entry : header.entries) {
      uint64_t bytes = size_of(entry.type);
      for (const int64_t extent : entry.shape) bytes *= static_cast<uint64_t>(extent);
      const uint64_t end = header.data_begin + entry.begin + entry.bytes;
      if (bytes != entry.bytes || end > size) std::abort();
    }
  });
}
