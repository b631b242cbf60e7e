#include "apps/bench/networks.h"

#include "layers/activation.h"
#include "layers/conv2d.h"
#include "layers/linear.h"
#include "layers/models.h"
#include "layers/pool.h"

namespace noisysgd::bench {

namespace {

std::unique_ptr<Layer> convnet() {
  const auto conv = [](int64_t channels) {
    return Conv2dOptions{.out_channels = channels, .kernel = {3, 3}, .padding = {1, 1}};
  };
  NetworkBuilder net("", {32, 32, 3});
  net.add<Conv2d>("conv", conv(16)).add<Relu>("relu").add<Conv2d>("conv", conv(16)).add<MaxPool>("pool", PoolOptions{});
  net.add<Conv2d>("conv", conv(32)).add<Relu>("relu").add<MaxPool>("pool", PoolOptions{});
  return net.flatten().add<Linear>("linear", LinearOptions{classes}).build();
}

}  // namespace

std::vector<std::string> network_names() { return {"mlp", "lenet", "convnet"}; }

std::unique_ptr<Layer> make_network(const std::string& name) {
  if (name == "mlp") return mlp({28, 28, 1}, classes);
  if (name == "lenet") return lenet({28, 28, 1}, classes);
  NSGD_CHECK(name == "convnet", "benchmark: no network is called '{}'", name);
  return convnet();
}

}  // namespace noisysgd::bench
