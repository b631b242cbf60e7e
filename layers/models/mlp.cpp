#include <noisysgd/layers/models/mlp.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/linear.h>

namespace noisysgd {

std::unique_ptr<Layer> mlp(const Shape& input, int64_t classes, const MlpOptions& options) {
  NetworkBuilder net("", input);
  net.flatten();
  for (const int64_t features : options.hidden) {
    net.add<Linear>("linear", LinearOptions{features}).add<Relu>("relu");
    net.dropout(options.dropout);
  }
  net.add<Linear>("linear", LinearOptions{classes});
  return net.build();
}

}  // namespace noisysgd
