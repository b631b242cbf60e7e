// tar: members are within the archive, one after the other.
#include <cstdlib>

#include <noisysgd/data/archive.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  return fuzz::result_or_error([&] {
    const uint8_t* end = data;
    visit_tar({data, size}, "input", [&](const TarEntry& member) {
      if (member.content.empty()) return;
      if (member.content.data() < end + 512) std::abort();
      end = member.content.data() + member.content.size();
      if (end > data + size) std::abort();
    });
  });
}
