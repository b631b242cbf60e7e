// IDX, plain or gzip: the number of values is that of the shape.
#include <cstdlib>

#include <noisysgd/data/idx.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  return fuzz::result_or_error([&] {
    const IdxArray array = parse_idx({data, size}, "input");
    uint64_t count = 1;
    for (const int64_t extent : array.shape) count *= static_cast<uint64_t>(extent);
    if (array.values.size() != count) std::abort();
  });
}
