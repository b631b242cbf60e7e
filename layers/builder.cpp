#include <noisysgd/layers/builder.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/registry.h>
#include <noisysgd/layers/reshape.h>

namespace noisysgd {

NetworkBuilder& NetworkBuilder::flatten() { return shape_.rank() > 1 ? add<Flatten>("flatten") : *this; }

NetworkBuilder& NetworkBuilder::dropout(float probability) {
  if (probability == 0) return *this;
  std::string name = next_name("dropout");
  const uint32_t stream = stream_of(name);
  return append(std::make_unique<Dropout>(std::move(name), shape_, probability, stream));
}

}  // namespace noisysgd
