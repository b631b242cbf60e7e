#include "layers/models.h"

#include "layers/activation.h"
#include "layers/conv2d.h"
#include "layers/linear.h"
#include "layers/pool.h"
#include "layers/registry.h"
#include "layers/reshape.h"

namespace noisysgd {

NetworkBuilder& NetworkBuilder::flatten() { return shape_.rank() > 1 ? add<Flatten>("flatten") : *this; }

std::unique_ptr<Layer> mlp(const Shape& input, int64_t classes, const MlpOptions& options) {
  NetworkBuilder net("", input);
  net.flatten();
  for (const int64_t features : options.hidden) {
    net.add<Linear>("linear", LinearOptions{features}).add<Relu>("relu");
    if (options.dropout > 0) {
      std::string name = net.next_name("dropout");
      net.append(std::make_unique<Dropout>(name, net.shape(), options.dropout, stream_of(name)));
    }
  }
  net.add<Linear>("linear", LinearOptions{classes});
  return net.build();
}

std::unique_ptr<Layer> lenet(const Shape& input, int64_t classes, const LenetOptions& options) {
  NetworkBuilder net("", input);
  for (const int64_t channels : options.channels) {
    net.add<Conv2d>("conv", Conv2dOptions{.out_channels = channels, .kernel = {5, 5}}).add<Relu>("relu");
    net.add<MaxPool>("pool", PoolOptions{2, 2, 0});
  }
  net.flatten();
  net.add<Linear>("linear", LinearOptions{options.hidden})
      .add<Relu>("relu")
      .add<Linear>("linear", LinearOptions{classes});
  return net.build();
}

}  // namespace noisysgd
