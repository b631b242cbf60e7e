// Training steps of a residual network for CIFAR images on the emulated device, on random data.
#pragma once

#include <vector>

#include <noisysgd/core/json.h>
#include <noisysgd/data/loader.h>
#include <noisysgd/layers/models/resnet.h>
#include <noisysgd/optim/sgd.h>
#include <noisysgd/optim/step.h>

namespace noisysgd::test {

inline Dataset random_images(int64_t count) {
  Dataset dataset{.name = "random",
                  .count = count,
                  .height = 32,
                  .width = 32,
                  .channels = 3,
                  .classes = 10,
                  .images = {},
                  .labels = std::vector<int32_t>(static_cast<size_t>(count)),
                  .class_names = {}};
  dataset.images.resize(static_cast<size_t>(count * dataset.image_size()));
  for (size_t i = 0; i < dataset.images.size(); ++i) dataset.images[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
  for (size_t i = 0; i < dataset.labels.size(); ++i) dataset.labels[i] = static_cast<int32_t>(i % 10);
  return dataset;
}

// Steps of one batch each, which is also an epoch; half a batch is a ghost batch. Images are cropped and flipped.
class ResnetSteps {
 public:
  // noise: as in a configuration; conv: the second moment that it needs, or none.
  ResnetSteps(Context& context, int64_t depth, int64_t batch, const Json& noise, SecondMoment conv)
      : batch_(batch),
        data_(random_images(batch)),
        loader_(context, data_, channel_statistics(data_), {.padding = 4, .flip = true}),
        model_(context, resnet({32, 32, 3}, 10, {.depth = depth, .ghost_size = batch / 2}), 10),
        noise_(Noise::read(Config(noise).root(), NoiseRegistry::builtin())),
        step_(context, model_, noise_, sgd_, nullptr, {.fisher = {.conv = conv}}) {
    step_.begin_noise();
    model_.parameter_set().initialise(1);
  }
  void run() {
    const BatchSource source = [this](const StepNumbers& numbers, int64_t begin, int64_t count) {
      return loader_.shuffled({numbers.epoch, numbers.first_sample, begin}, count, 1);
    };
    step_.run({.values = {number_, number_, 0, 0.01f}, .samples = batch_, .noise = noise_.active()}, source);
    ++number_;
  }
  const StepCounts& counts() const { return step_.counts(); }

 private:
  int64_t batch_;
  Dataset data_;
  Loader loader_;
  Model model_;
  Noise noise_;
  Sgd sgd_{{.momentum = 0.9, .weight_decay = 5e-4}};
  Step step_;
  uint32_t number_ = 0;
};

}  // namespace noisysgd::test
