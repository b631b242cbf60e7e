#include <noisysgd/layers/models/resnet.h>

#include <fmt/format.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/pool.h>
#include <noisysgd/layers/reshape.h>

namespace noisysgd {

namespace {

Conv2dOptions conv3x3(int64_t channels, int64_t stride) {
  return {.out_channels = channels, .kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1}, .bias = false};
}

Conv2dOptions conv1x1(int64_t channels, int64_t stride) {
  return {.out_channels = channels, .kernel = {1, 1}, .stride = {stride, stride}, .bias = false};
}

// ReLU(body(x) + shortcut(x)); scope: "layer1.0.".
void add_block(NetworkBuilder& net, const std::string& scope, int64_t channels, int64_t stride,
               const ResnetOptions& options) {
  const BatchNormOptions norm{options.ghost_size};
  NetworkBuilder body(scope, net.shape()), shortcut(scope, net.shape());
  body.add<Conv2d>("conv", conv3x3(channels, stride)).add<BatchNorm>("bn", norm).add<Relu>("relu");
  body.add<Conv2d>("conv", conv3x3(channels, 1)).add<BatchNorm>("bn", norm);
  const bool changes_shape = body.shape() != net.shape();
  if (changes_shape && options.shortcut == ResnetShortcut::projection) {
    shortcut.add_named<Conv2d>("downsample.0", conv1x1(channels, stride)).add_named<BatchNorm>("downsample.1", norm);
  } else if (changes_shape) {
    shortcut.add_named<PadChannels>("downsample", stride, channels);
  }
  const std::string name = scope.substr(0, scope.size() - 1);
  net.append(std::make_unique<Residual>(name, body.build(), shortcut.build()));
  net.add_named<Relu>(scope + "relu2");
}

}  // namespace

std::unique_ptr<Layer> resnet(const Shape& input, int64_t classes, const ResnetOptions& options) {
  NSGD_CHECK(options.depth >= 8 && options.depth % 6 == 2, "resnet: the depth {} is not 6n+2 for an n of at least 1",
             options.depth);
  NetworkBuilder net("", input);
  net.add<Conv2d>("conv", conv3x3(16 * options.width, 1)).add<BatchNorm>("bn", BatchNormOptions{options.ghost_size});
  net.add<Relu>("relu");
  const int64_t blocks = (options.depth - 2) / 6;
  for (int64_t stage = 0; stage < 3; ++stage)
    for (int64_t block = 0; block < blocks; ++block)
      add_block(net, fmt::format("layer{}.{}.", stage + 1, block), (16 * options.width) << stage,
                stage > 0 && block == 0 ? 2 : 1, options);
  return net.add_named<GlobalAveragePool>("avgpool").add_named<Linear>("fc", LinearOptions{classes}).build();
}

}  // namespace noisysgd
