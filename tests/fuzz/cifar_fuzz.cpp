// CIFAR records: the first byte of the input chooses the version.
#include <cstdlib>

#include <noisysgd/data/cifar.h>
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace noisysgd;
  if (size == 0) return 0;
  return fuzz::result_or_error([&] {
    const CifarVersion version = data[0] % 2 == 0 ? CifarVersion::cifar10 : CifarVersion::cifar100;
    Dataset dataset = empty_cifar(version);
    append_cifar(dataset, version, {data + 1, size - 1}, "input");
    if (dataset.images.size() != static_cast<size_t>(dataset.count * 3072)) std::abort();
    for (const int32_t label : dataset.labels)
      if (label < 0 || label >= dataset.classes) std::abort();
  });
}
