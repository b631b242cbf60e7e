// noisysgd-train with a layer and two noise structures more.
#include <noisysgd/apps/train_app.h>
#include "laplace_fisher.h"
#include "swish.h"
#include "temporal_noise.h"

int main(int argc, char** argv) {
  noisysgd::Extensions extensions;
  extensions.layers.add("swish", Swish::read);
  extensions.noises.add("laplace_fisher", LaplaceFisher::read);
  extensions.noises.add("temporal", TemporalNoise::read);
  return noisysgd::train_main(argc, argv, extensions);
}
