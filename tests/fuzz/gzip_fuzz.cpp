// gzip: never more than the limit, and the same in pieces as at once.
#include <cstdlib>

#include <noisysgd/data/gzip.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  constexpr uint64_t limit = 1 << 16;
  return fuzz::result_or_error([&] {
    const auto bytes = gunzip({data, size}, limit, "input");
    if (bytes.size() > limit) std::abort();
    std::vector<uint8_t> pieces;
    GzipReader reader({data, size}, "input");
    for (uint64_t count = 1; !reader.at_end(); ++count) reader.append(pieces, count);
    if (pieces != bytes) std::abort();
  });
}
