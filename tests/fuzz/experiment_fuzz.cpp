// A whole configuration, as noisysgd-train reads it.
#include <noisysgd/apps/experiment.h>
#include <noisysgd/core/json.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  static const Extensions extensions;
  return fuzz::result_or_error(
      [&] { read_experiment(parse_json(fuzz::text_of(data, size), "input"), "input", extensions); });
}
