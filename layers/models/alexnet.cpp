#include <noisysgd/layers/models/alexnet.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/pool.h>

namespace noisysgd {

std::unique_ptr<Layer> alexnet(const Shape& input, int64_t classes, const AlexnetOptions& options) {
  NetworkBuilder net("", input);
  const bool bias = !options.batch_norm;  // a batch norm after it has its own
  const auto activate = [&] {
    if (options.batch_norm) net.add<BatchNorm>("bn", BatchNormOptions{options.ghost_size});
    net.add<Relu>("relu");
  };
  for (int stage = 0; stage < 2; ++stage) {
    net.add<Conv2d>("conv", Conv2dOptions{.out_channels = 64, .kernel = {5, 5}, .padding = {2, 2}, .bias = bias});
    activate();
    net.add<MaxPool>("pool", PoolOptions{3, 2, 1});
  }
  net.flatten();
  for (const int64_t features : {384, 192}) {
    net.add<Linear>("linear", LinearOptions{features, bias});
    activate();
    net.dropout(options.dropout);
  }
  net.add<Linear>("linear", LinearOptions{classes});
  return net.build();
}

}  // namespace noisysgd
