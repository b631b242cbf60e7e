// noisysgd-train with one more layer, optimizer, schedule, data set and loss, and two more noise structures.
#include <noisysgd/apps/train_app.h>
#include "cooldown.h"
#include "gratings.h"
#include "laplace_fisher.h"
#include "lion.h"
#include "squared_error.h"
#include "swish.h"
#include "temporal_noise.h"

int main(int argc, char** argv) {
  noisysgd::Extensions extensions;
  extensions.layers.add("swish", Swish::read);
  extensions.noises.add("laplace_fisher", LaplaceFisher::read);
  extensions.noises.add("temporal", TemporalNoise::read);
  extensions.optimizers.add("lion", Lion::read, 0.003);  // its default learning rate
  extensions.schedules.add("cooldown", Cooldown::read);
  extensions.datasets.add("gratings", Gratings::read);
  extensions.losses.add("squared_error", SquaredError::read);
  return noisysgd::train_main(argc, argv, extensions);
}
