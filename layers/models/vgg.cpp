#include <noisysgd/layers/models/vgg.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/pool.h>
#include <noisysgd/layers/reshape.h>

namespace noisysgd {

namespace {

struct Stage {
  int convolutions;
  int64_t channels;
};

constexpr Stage stages[] = {{2, 64}, {2, 128}, {3, 256}, {3, 512}, {3, 512}};

}  // namespace

std::unique_ptr<Layer> vgg16(const Shape& input, int64_t classes, const VggOptions& options) {
  NetworkBuilder net("", input);
  int index = 0;
  const auto name = [&] { return "features." + std::to_string(index++); };
  for (const Stage& stage : stages) {
    const Conv2dOptions conv{.out_channels = stage.channels, .kernel = {3, 3}, .padding = {1, 1}, .bias = false};
    for (int i = 0; i < stage.convolutions; ++i) {
      net.add_named<Conv2d>(name(), conv)
          .add_named<BatchNorm>(name(), BatchNormOptions{options.ghost_size})
          .add_named<Relu>(name());
    }
    net.add_named<MaxPool>(name(), PoolOptions{2, 2, 0});
  }
  return net.add_named<Flatten>("flatten").add_named<Linear>("classifier", LinearOptions{classes}).build();
}

}  // namespace noisysgd
