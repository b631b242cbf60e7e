// Trains a small network with diagonal-Fisher noise. Everything is made from C++ values; nothing is read from a file.
#include <fmt/format.h>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/data/loader.h>
#include <noisysgd/data/synthetic.h>
#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/builder.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/pool.h>
#include <noisysgd/optim/noise/diagonal_fisher.h>
#include <noisysgd/optim/sgd.h>

using namespace noisysgd;

int main() {
  const DatasetPair images = make_synthetic({.train_count = 2000, .test_count = 500, .difficulty = 0.2});
  const ChannelStatistics statistics = channel_statistics(images.train);
  Context context;
  const Loader train(context, images.train, statistics), test(context, images.test, statistics);

  NetworkBuilder network("", train.image_shape());
  network.add<Conv2d>("conv", Conv2dOptions{.out_channels = 8, .kernel = {5, 5}}).add<Relu>("relu");
  network.add<MaxPool>("pool", PoolOptions{}).flatten().add<Linear>("linear", LinearOptions{.out_features = 10});
  Model model(context, network.build(), 10);
  model.parameter_set().initialise(/*seed=*/1);

  Noise noise({.type = "diagonal Fisher"}, std::make_unique<DiagonalFisherNoise>(NoiseBatchSizes{.small_batch = 32}));
  Sgd sgd({.momentum = 0.9});
  Step step(context, model, noise, sgd, nullptr, {});
  step.begin_noise();

  constexpr int64_t batch = 200, steps_per_epoch = 10, epochs = 8;
  const BatchSource source = [&](const StepNumbers& at, int64_t begin, int64_t count) {
    return train.shuffled({at.epoch, at.first_sample, begin}, count, /*seed=*/1);
  };
  for (uint32_t s = 0; s < epochs * steps_per_epoch; ++s) {
    const uint32_t epoch = s / steps_per_epoch;
    step.run({.values = {s, epoch, s % steps_per_epoch * batch, 0.1f}, .samples = batch, .noise = epoch < 2}, source);
  }

  const DeviceValue<kernels::LossSums> sums(context);
  model.evaluate(test.ordered(0, test.count()), sums.place());
  fmt::print("test accuracy {:.1f} %\n", 100.0 * static_cast<double>(sums.read().correct) / test.count());
  save_weights("weights.safetensors", model);
}
