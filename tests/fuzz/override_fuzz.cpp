// --set: one assignment on each line of the input. An assignment that fails does not change the document.
#include <cstdlib>

#include <noisysgd/core/config.h>
#include <noisysgd/core/json.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  static const Json base = parse_json(
      R"({"epochs": 3, "data": {"type": "mnist"}, "seeds": [1, 2], "regimes": [{"name": "LB+Diag"}, {"name": "a,b=[c]"}]})",
      "base");
  Json document = base;
  for (std::string_view rest = fuzz::text_of(data, size); !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const Json before = document;
    try {
      apply_override(document, line);
    } catch (const Error&) {
      if (document != before) std::abort();
    }
  }
  return 0;
}
