#include <noisysgd/bench/program/networks.h>

#include <fmt/format.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/models/alexnet.h>
#include <noisysgd/layers/models/lenet.h>
#include <noisysgd/layers/models/mlp.h>
#include <noisysgd/layers/models/resnet.h>
#include <noisysgd/layers/models/vgg.h>
#include <noisysgd/layers/pool.h>

namespace noisysgd::bench {

namespace {

const Shape grey{28, 28, 1}, colour{32, 32, 3};

std::unique_ptr<Layer> convnet() {
  const auto conv = [](int64_t channels) {
    return Conv2dOptions{.out_channels = channels, .kernel = {3, 3}, .padding = {1, 1}};
  };
  NetworkBuilder net("", colour);
  net.add<Conv2d>("conv", conv(16)).add<Relu>("relu").add<Conv2d>("conv", conv(16)).add<MaxPool>("pool", PoolOptions{});
  net.add<Conv2d>("conv", conv(32)).add<Relu>("relu").add<MaxPool>("pool", PoolOptions{});
  return net.flatten().add<Linear>("linear", LinearOptions{classes}).build();
}

using Maker = std::unique_ptr<Layer> (*)();

const std::vector<std::pair<std::string, Maker>>& networks() {
  static const std::vector<std::pair<std::string, Maker>> all{
      {"mlp", [] { return mlp(grey, classes); }},
      {"lenet", [] { return lenet(grey, classes); }},
      {"convnet", convnet},
      {"alexnet", [] { return alexnet(colour, classes, {.ghost_size = ghost_size}); }},
      {"vgg16", [] { return vgg16(colour, classes, {.ghost_size = ghost_size}); }},
      {"resnet20", [] { return resnet(colour, classes, {.depth = 20, .ghost_size = ghost_size}); }},
      {"resnet44", [] { return resnet(colour, classes, {.depth = 44, .ghost_size = ghost_size}); }},
      {"resnet44x2", [] { return resnet(colour, classes, {.depth = 44, .width = 2, .ghost_size = ghost_size}); }},
  };
  return all;
}

}  // namespace

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : networks()) names.push_back(name);
  return names;
}

std::unique_ptr<Layer> make_network(const std::string& name) {
  for (const auto& [known, make] : networks())
    if (known == name) return make();
  throw Error(fmt::format("benchmark: no network is called '{}'", name));
}

}  // namespace noisysgd::bench
