#include <noisysgd/layers/models/lenet.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/pool.h>

namespace noisysgd {

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
