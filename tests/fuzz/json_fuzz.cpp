// JSON: a document that is read and written again is the same document.
#include <cstdlib>

#include <noisysgd/core/json.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  return fuzz::result_or_error([&] {
    const Json document = parse_json(fuzz::text_of(data, size), "input");
    if (parse_json(document.dump(), "output") != document) std::abort();
  });
}
